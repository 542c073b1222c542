package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// monitor is the server: what it watches, and who wants to know. All of it is used on one loop.
type monitor struct {
	sensor     sensor
	every      time.Duration
	limits     limits
	hysteresis float64
	step       float64
	beat       time.Duration
	most       int

	loop     *evnet.Loop
	state    report
	managers map[*evnet.Socket]bool // true: has not been told the state, and is told on Drain
}

// serve returns once a signal has ended it.
func (m *monitor) serve(network, address string) error {
	m.loop, m.managers = evnet.DefaultLoop, map[*evnet.Socket]bool{}
	readings, err := m.sensor() // so that there is a state to tell from the beginning
	if err != nil {
		return fmt.Errorf("the sensor: %w", err)
	}
	m.sampled(readings, nil)

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: m.most,
		HighWaterMark:  -1,                         // NeedDrain is true as soon as the system does not take a report
		IdleTimeout:    max(time.Minute, 4*m.beat), // who takes nothing, not even heartbeats
		CloseTimeout:   5 * time.Second,
	})
	server.On.Connection(m.welcome)
	server.On.Error(func(err error) { log.Println(err) }) // no descriptors left, say: it goes on
	err = server.Listen(network, address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	m.loop.AfterFunc(m.every, m.sample)
	m.loop.AfterFunc(m.beat, m.pulse)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := m.loop.Serve(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Println("closed")
	return nil
}

// welcome takes a new manager in, and tells it the state.
func (m *monitor) welcome(c *evnet.Socket) {
	if conn, ok := c.Conn().(interface{ SetWriteBuffer(int) error }); ok {
		_ = conn.SetWriteBuffer(longestLine) // what the system holds for a slow manager is old when it comes
	}
	c.On.Error(func(error) {}) // a broken connection is a manager that goes, and comes back
	c.On.Close(func(bool) { delete(m.managers, c) })
	c.On.Drain(func() {
		if m.managers[c] {
			m.tell(c)
		}
	})
	c.Resume() // whatever a manager says is thrown away
	m.tell(c)
}

// tell sends a manager the state, now or, while older bytes still wait, once they have gone. What is sent then is
// the newest state: a slow manager misses what was between, and holds no memory here.
func (m *monitor) tell(c *evnet.Socket) {
	m.managers[c] = c.NeedDrain()
	if !m.managers[c] {
		_, _ = c.Write(m.state.line())
	}
}

// pulse tells every manager that the server is alive.
func (m *monitor) pulse() {
	line := report{N: m.state.N}.line()
	for c := range m.managers {
		if !c.NeedDrain() {
			_, _ = c.Write(line)
		}
	}
	m.loop.AfterFunc(m.beat, m.pulse)
}

// sample asks the sensor, which may take its time: on a goroutine, for the loop must not wait.
func (m *monitor) sample() {
	late := m.loop.AfterFunc(max(time.Second, 10*m.every), func() { m.sampled(nil, errors.New("it does not answer")) })
	go func() {
		readings, err := m.sensor()
		m.loop.Post(func() { // back on the loop
			late.Stop()
			m.sampled(readings, err)
			m.loop.AfterFunc(m.every, m.sample)
		})
	}()
}

// sampled makes what the sensor has answered the new state, if it matters, and tells all managers.
func (m *monitor) sampled(readings []reading, err error) {
	state := report{N: m.state.N + 1, Time: time.Now(), Readings: readings}
	if err != nil {
		state.Fault, state.Readings = fmt.Sprintf("%.200v", err), m.state.Readings
	}
	for i := range state.Readings {
		r := &state.Readings[i]
		r.Value = math.Round(r.Value*10) / 10
		r.Level = m.limits.judge(r.Name, r.Value, m.before(*r).Level, m.hysteresis)
	}
	if state.Fault == m.state.Fault && len(state.Readings) == len(m.state.Readings) && !slices.ContainsFunc(state.Readings, m.matters) {
		return
	}
	if state.Fault != m.state.Fault && err != nil {
		log.Println("the sensor:", err)
	}
	m.state = state
	for c := range m.managers {
		m.tell(c)
	}
}

// before is the reading of the same name that was told last, or the zero reading.
func (m *monitor) before(r reading) reading {
	for _, old := range m.state.Readings {
		if old.Name == r.Name {
			return old
		}
	}
	return reading{}
}

// matters reports whether a reading has changed so much that managers want to know.
func (m *monitor) matters(r reading) bool {
	old := m.before(r)
	return r.Name != old.Name || r.Level != old.Level || r.Value != old.Value && math.Abs(r.Value-old.Value) >= m.step
}
