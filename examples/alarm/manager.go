package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// manager watches a server, and comes back to it whenever it was lost.
type manager struct {
	timeout time.Duration
	retry   backoff
	state   report // the last that was heard on this connection
}

// backoff is how long to wait before the next attempt.
type backoff struct{ first, longest, last time.Duration }

// next is twice as long each time, up to the longest, less up to a half by chance: else all managers that a
// server has lost would come back at the same moment.
func (b *backoff) next() time.Duration {
	b.last = min(max(b.first, 2*b.last), b.longest)
	return b.last/2 + rand.N(b.last/2+1)
}

// watch prints what the server tells, until a signal comes.
func (m *manager) watch(network, address string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	s := evnet.NewSocket(nil) // one for all connections: what is registered stays
	connect := func() {
		m.state = report{}
		s.Connect(network, address)
	}
	_ = s.Scan(bufio.ScanLines, longestLine, func(line []byte) {
		if err := m.hear(line); err != nil {
			s.Destroy(fmt.Errorf("%s: %w", address, err))
		}
	})
	_ = s.SetTimeout(m.timeout) // counts while connecting too, and anew for each connection
	s.On.Timeout(func() { s.Destroy(fmt.Errorf("%s: nothing was heard for %v", address, m.timeout)) })
	s.On.Connect(func() { log.Println("connected to", address) })
	s.On.Error(func(error) {}) // Close tells it
	s.On.Close(func(bool) {
		if ctx.Err() != nil {
			return // it is this side that goes
		}
		why := s.Err()
		if why == nil {
			why = fmt.Errorf("%s has ended the connection", address)
		}
		wait := m.retry.next()
		log.Printf("%v; trying again in %v", why, wait.Round(time.Millisecond))
		s.Loop().AfterFunc(wait, connect)
	})
	connect()
	_ = s.Loop().Serve(ctx)
	log.Println("closed")
}

// hear takes a line of the server's, and fails if it is no report.
func (m *manager) hear(line []byte) error {
	r, err := parse(line)
	if err != nil {
		return err
	}
	m.retry.last = 0 // it is an alarm server, and it is well
	if r.Time.IsZero() {
		return nil // the heartbeat: that it has come is all
	}
	print := func(format string, args ...any) {
		printable.Println(r.Time.Local().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	if skipped := r.N - m.state.N - 1; m.state.N > 0 && skipped > 0 {
		print("%d changes were missed", skipped)
	}
	known := map[string]reading{}
	for _, old := range m.state.Readings {
		known[old.Name] = old
	}
	for _, now := range r.Readings {
		if old, told := known[now.Name]; !told || old != now {
			print("%-10s %-7s %6.1f", now.Name, now.Level, now.Value)
		}
		delete(known, now.Name)
	}
	for name := range known {
		print("%-10s is not watched any more", name)
	}
	switch {
	case r.Fault != m.state.Fault && r.Fault != "":
		print("the sensor fails: %q", r.Fault)
	case r.Fault != m.state.Fault:
		print("the sensor works again")
	}
	m.state = r
	return nil
}
