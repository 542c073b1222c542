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

// manager watches a server and reconnects whenever it loses the connection.
type manager struct {
	timeout time.Duration
	retry   backoff
	state   report // the last report on this connection
}

// backoff computes the delay before the next attempt.
type backoff struct{ first, longest, last time.Duration }

// next returns the next delay. The delay doubles each time up to the longest one. A random part, up to a half, is subtracted:
// otherwise all managers of a server that failed would reconnect at the same moment.
func (b *backoff) next() time.Duration {
	b.last = min(max(b.first, 2*b.last), b.longest)
	return b.last/2 + rand.N(b.last/2+1)
}

// watch prints the reports of the server until a signal arrives.
func (m *manager) watch(network, address string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately

	s := evnet.NewSocket(nil) // reused for all connections; the callbacks stay registered
	connect := func() {
		m.state = report{}
		s.Connect(network, address)
	}
	_ = s.Scan(bufio.ScanLines, maxLine, func(line []byte) {
		if err := m.receive(line); err != nil {
			s.Destroy(fmt.Errorf("%s: %w", address, err))
		}
	})
	_ = s.SetTimeout(m.timeout) // covers connecting too, and restarts with each connection
	s.On.Timeout(func() { s.Destroy(fmt.Errorf("%s: no data received for %v", address, m.timeout)) })
	s.On.Connect(func() { log.Println("connected to", address) })
	s.On.Error(func(error) {}) // Close reports it
	s.On.Close(func(bool) {
		if ctx.Err() != nil {
			return // this side is closing
		}
		err := s.Err()
		if err == nil {
			err = fmt.Errorf("%s: connection closed by the server", address)
		}
		wait := m.retry.next()
		log.Printf("%v; retrying in %v", err, wait.Round(time.Millisecond))
		s.Loop().AfterFunc(wait, connect)
	})
	connect()
	_ = s.Loop().Serve(ctx)
	log.Println("closed")
}

// receive prints what changed in a line of the server. It returns an error if the line is not a valid report.
func (m *manager) receive(line []byte) error {
	r, err := parse(line)
	if err != nil {
		return err
	}
	m.retry.last = 0 // a valid line: the server works
	if r.Time.IsZero() {
		return nil // a heartbeat
	}
	print := func(format string, args ...any) {
		printable.Println(r.Time.Local().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	if skipped := r.N - m.state.N - 1; m.state.N > 0 && skipped > 0 {
		print("%d changes missed", skipped)
	}
	known := map[string]reading{}
	for _, old := range m.state.Readings {
		known[old.Name] = old
	}
	for _, now := range r.Readings {
		if old, ok := known[now.Name]; !ok || old != now {
			print("%-10s %-7s %6.1f", now.Name, now.Level, now.Value)
		}
		delete(known, now.Name)
	}
	for name := range known {
		print("%-10s removed", name)
	}
	switch {
	case r.Fault != m.state.Fault && r.Fault != "":
		print("sensor failed: %q", r.Fault)
	case r.Fault != m.state.Fault:
		print("sensor recovered")
	}
	m.state = r
	return nil
}
