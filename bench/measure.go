package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"evnet/bench/figures"
)

const (
	shortTimeout = 10 * time.Second // for an answer that takes almost no time
	longTimeout  = 90 * time.Second // covers opening 15,000 connections and the load generator's own timeout
)

// An environment has what a measurement needs: the built programs and the processors they run on.
type environment struct {
	pins             pins
	loadPath         string
	programs         map[string][]string // the command line of each
	warmup, duration time.Duration
}

// measure runs one round of a workload with one implementation, in new processes.
func (e *environment) measure(w *workload, impl implementation) (r *record, err error) {
	load := []string{e.loadPath, "-workload", w.kind, "-size", strconv.Itoa(w.size), "-conns", strconv.Itoa(w.conns),
		"-depth", strconv.Itoa(w.depth), "-warmup", e.warmup.String(), "-duration", e.duration.String()}
	argv := append([]string{}, e.programs[impl.program]...)
	argv = append(append(argv, "-workload", w.kind, "-size", strconv.Itoa(w.size)), impl.flags...)
	m := &measurement{workload: w}
	defer func() { err = errors.Join(err, m.stop()) }()
	if w.kind == "idle" {
		load = append(load, "-warmup", "0s", "-duration", "1ms")
	}
	if w.kind == "proxy" {
		if m.load, err = start("load", e.pins.load, load); err != nil {
			return nil, err
		}
		upstream, err := m.load.expect("upstream ", shortTimeout)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "-upstream", upstream)
	}
	if m.server, err = start(impl.name, e.pins.server, argv); err != nil {
		return nil, err
	}
	address, err := m.server.expect("listening ", shortTimeout)
	if err != nil {
		return nil, err
	}
	r = &record{Workload: w.name, Impl: impl.name}
	if w.kind == "idle" {
		if r.RSSBefore, err = m.restedRSS(); err != nil {
			return nil, err
		}
	}
	pid := strconv.Itoa(m.server.cmd.Process.Pid)
	if m.load == nil {
		m.load, err = start("load", e.pins.load, append(load, "-addr", address, "-pid", pid))
	} else {
		err = m.load.send(address + " " + pid)
	}
	if err != nil {
		return nil, err
	}
	return r, m.run(r)
}

// A measurement is a running server with its load generator.
type measurement struct {
	workload     *workload
	server, load *process
}

// run follows the load generator from its mark "start" to its figures. After each mark the load
// generator pauses until it receives a line.
func (m *measurement) run(r *record) error {
	if _, err := m.load.expect("start", longTimeout); err != nil {
		return m.withServerOutput(err)
	}
	if m.workload.kind == "idle" {
		var err error
		r.Conns = m.workload.conns
		time.Sleep(500 * time.Millisecond) // for the work that a server does after it accepts
		if r.RSSOpen, err = residentBytes(m.server.cmd.Process.Pid); err != nil {
			return err
		}
		if r.RSSRested, err = m.restedRSS(); err != nil {
			return err
		}
	}
	before, err := m.stat()
	if err != nil {
		return err
	}
	if err := m.load.send(""); err != nil {
		return m.withServerOutput(err)
	}
	if _, err := m.load.expect("end", longTimeout); err != nil {
		return m.withServerOutput(err)
	}
	if r.RSS, err = residentBytes(m.server.cmd.Process.Pid); err != nil {
		return err
	}
	after, err := m.stat()
	if err != nil {
		return err
	}
	if err := m.load.send(""); err != nil {
		return m.withServerOutput(err)
	}
	line, err := m.load.line(shortTimeout)
	if err != nil {
		return m.withServerOutput(err)
	}
	r.Load = new(figures.Load)
	if err := json.Unmarshal([]byte(line), r.Load); err != nil {
		return fmt.Errorf("load: parse figures %q: %w", line, err)
	}
	r.Goroutines = after.Goroutines
	if after.Mallocs > 0 {
		mallocs := after.Mallocs - before.Mallocs
		r.Mallocs = &mallocs
	}
	return nil
}

// withServerOutput adds the server's error output to an error of the load generator. The server is
// often the cause.
func (m *measurement) withServerOutput(err error) error {
	if output := m.server.stderr.String(); output != "" {
		return fmt.Errorf("%w; output of the server: %s", err, output)
	}
	return err
}

type stat struct{ Goroutines, Mallocs int64 }

func (m *measurement) stat() (s stat, err error) {
	line, err := m.request("stat")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		return s, fmt.Errorf("%s: parse the answer to stat, %q: %w", m.server.name, line, err)
	}
	return s, nil
}

// restedRSS returns the server's resident memory after it has released unused memory.
func (m *measurement) restedRSS() (int64, error) {
	answer, err := m.request("rest")
	if err != nil {
		return 0, err
	}
	if answer != "ok" {
		return 0, fmt.Errorf("%s: unexpected answer to rest: %q", m.server.name, answer)
	}
	return residentBytes(m.server.cmd.Process.Pid)
}

func (m *measurement) request(command string) (string, error) {
	if err := m.server.send(command); err != nil {
		return "", err
	}
	return m.server.line(shortTimeout)
}

func (m *measurement) stop() error {
	var errs []error
	for _, p := range []*process{m.load, m.server} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}
