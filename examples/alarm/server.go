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

// monitor is the server. All its fields are used on one loop.
type monitor struct {
	sensor      sensor
	every       time.Duration
	limits      limits
	hysteresis  float64
	step        float64
	beat        time.Duration
	maxManagers int

	loop     *evnet.Loop
	state    report
	managers map[*evnet.Socket]bool // true: the state is pending and sent on Drain
}

// serve runs the server until a signal ends it.
func (m *monitor) serve(network, address string) error {
	m.loop, m.managers = evnet.DefaultLoop, map[*evnet.Socket]bool{}
	readings, err := m.sensor() // so that there is a state from the beginning
	if err != nil {
		return fmt.Errorf("sensor: %w", err)
	}
	m.sampled(readings, nil)

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: m.maxManagers,
		HighWaterMark:  -1,                         // NeedDrain is true as soon as the kernel does not accept a report
		IdleTimeout:    max(time.Minute, 4*m.beat), // for a manager that reads nothing, not even heartbeats
		CloseTimeout:   5 * time.Second,
	})
	server.On.Connection(m.accept)
	server.On.Error(func(err error) { log.Println(err) }) // no free file descriptor, for example: the server continues
	err = server.Listen(network, address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	m.loop.AfterFunc(m.every, m.sample)
	m.loop.AfterFunc(m.beat, m.heartbeat)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately
	if err := m.loop.Serve(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Println("closed")
	return nil
}

// accept registers a new manager and sends it the state.
func (m *monitor) accept(c *evnet.Socket) {
	if conn, ok := c.Conn().(interface{ SetWriteBuffer(int) error }); ok {
		_ = conn.SetWriteBuffer(maxLine) // data that the kernel buffers for a slow manager is old when it arrives
	}
	c.On.Error(func(error) {}) // the manager reconnects
	c.On.Close(func(bool) { delete(m.managers, c) })
	c.On.Drain(func() {
		if m.managers[c] {
			m.sendState(c)
		}
	})
	c.Resume() // discards what a manager sends
	m.sendState(c)
}

// sendState sends the state to a manager, or marks it as pending while older bytes are queued. On Drain the newest state is
// sent. So a slow manager misses the states in between, and they use no memory here.
func (m *monitor) sendState(c *evnet.Socket) {
	m.managers[c] = c.NeedDrain()
	if !m.managers[c] {
		_, _ = c.Write(m.state.line())
	}
}

// heartbeat sends a heartbeat to every manager.
func (m *monitor) heartbeat() {
	line := report{N: m.state.N}.line()
	for c := range m.managers {
		if !c.NeedDrain() {
			_, _ = c.Write(line)
		}
	}
	m.loop.AfterFunc(m.beat, m.heartbeat)
}

// sample reads the sensor on a goroutine, because the sensor may be slow and the loop must not block.
func (m *monitor) sample() {
	deadline := m.loop.AfterFunc(max(time.Second, 10*m.every), func() { m.sampled(nil, errors.New("no answer")) })
	go func() {
		readings, err := m.sensor()
		m.loop.Post(func() { // back on the loop
			deadline.Stop()
			m.sampled(readings, err)
			m.loop.AfterFunc(m.every, m.sample)
		})
	}()
}

// sampled makes the readings of the sensor the new state, if they matter, and sends it to all managers.
func (m *monitor) sampled(readings []reading, err error) {
	state := report{N: m.state.N + 1, Time: time.Now(), Readings: readings}
	if err != nil {
		state.Fault, state.Readings = fmt.Sprintf("%.200v", err), m.state.Readings
	}
	for i := range state.Readings {
		r := &state.Readings[i]
		r.Value = math.Round(r.Value*10) / 10
		r.Level = m.limits.level(r.Name, r.Value, m.previous(*r).Level, m.hysteresis)
	}
	if state.Fault == m.state.Fault && len(state.Readings) == len(m.state.Readings) && !slices.ContainsFunc(state.Readings, m.matters) {
		return
	}
	if state.Fault != m.state.Fault && err != nil {
		log.Println("sensor:", err)
	}
	m.state = state
	for c := range m.managers {
		m.sendState(c)
	}
}

// previous returns the last reported reading of the same name, or the zero reading.
func (m *monitor) previous(r reading) reading {
	for _, old := range m.state.Readings {
		if old.Name == r.Name {
			return old
		}
	}
	return reading{}
}

// matters reports whether a reading has changed enough to be reported.
func (m *monitor) matters(r reading) bool {
	old := m.previous(r)
	return r.Name != old.Name || r.Level != old.Level || r.Value != old.Value && math.Abs(r.Value-old.Value) >= m.step
}
