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
	soon     = 10 * time.Second // for what takes no time
	patience = 90 * time.Second // for opening 15,000 connections and the load's own giving up
)

// A lab is what a measuring needs: the built programs and where they run.
type lab struct {
	pins             pins
	loadPath         string
	programs         map[string][]string // how each is started
	warmup, duration time.Duration
}

// measure runs one implementation through one round of a workload, in fresh processes.
func (l *lab) measure(w *workload, impl implementation) (r *record, err error) {
	load := []string{l.loadPath, "-workload", w.kind, "-size", strconv.Itoa(w.size), "-conns", strconv.Itoa(w.conns),
		"-depth", strconv.Itoa(w.depth), "-warmup", l.warmup.String(), "-duration", l.duration.String()}
	argv := append([]string{}, l.programs[impl.program]...)
	argv = append(append(argv, "-workload", w.kind, "-size", strconv.Itoa(w.size)), impl.flags...)
	m := &measuring{workload: w}
	defer func() { err = errors.Join(err, m.stop()) }()
	if w.kind == "idle" {
		load = append(load, "-warmup", "0s", "-duration", "1ms")
	}
	if w.kind == "proxy" {
		if m.load, err = start("load", l.pins.load, load); err != nil {
			return nil, err
		}
		upstream, err := m.load.expect("upstream ", soon)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "-upstream", upstream)
	}
	if m.server, err = start(impl.name, l.pins.server, argv); err != nil {
		return nil, err
	}
	address, err := m.server.expect("listening ", soon)
	if err != nil {
		return nil, err
	}
	r = &record{Workload: w.name, Impl: impl.name}
	if w.kind == "idle" {
		if r.RSSBefore, err = m.rested(); err != nil {
			return nil, err
		}
	}
	pid := strconv.Itoa(m.server.cmd.Process.Pid)
	if m.load == nil {
		m.load, err = start("load", l.pins.load, append(load, "-addr", address, "-pid", pid))
	} else {
		err = m.load.say(address + " " + pid)
	}
	if err != nil {
		return nil, err
	}
	return r, m.run(r)
}

// A measuring is a server and its load while they run.
type measuring struct {
	workload     *workload
	server, load *process
}

// run follows the load from its mark start on. Between the marks and its going on it stands still.
func (m *measuring) run(r *record) error {
	if _, err := m.load.expect("start", patience); err != nil {
		return m.blame(err)
	}
	if m.workload.kind == "idle" {
		var err error
		r.Conns = m.workload.conns
		time.Sleep(500 * time.Millisecond) // for what the server does after accepting
		if r.RSSOpen, err = residentBytes(m.server.cmd.Process.Pid); err != nil {
			return err
		}
		if r.RSSRested, err = m.rested(); err != nil {
			return err
		}
	}
	before, err := m.stat()
	if err != nil {
		return err
	}
	if err := m.load.say(""); err != nil {
		return m.blame(err)
	}
	if _, err := m.load.expect("end", patience); err != nil {
		return m.blame(err)
	}
	if r.RSS, err = residentBytes(m.server.cmd.Process.Pid); err != nil {
		return err
	}
	after, err := m.stat()
	if err != nil {
		return err
	}
	if err := m.load.say(""); err != nil {
		return m.blame(err)
	}
	line, err := m.load.line(soon)
	if err != nil {
		return m.blame(err)
	}
	r.Load = new(figures.Load)
	if err := json.Unmarshal([]byte(line), r.Load); err != nil {
		return fmt.Errorf("the load's figures %q: %w", line, err)
	}
	r.Goroutines = after.Goroutines
	if after.Mallocs > 0 {
		mallocs := after.Mallocs - before.Mallocs
		r.Mallocs = &mallocs
	}
	return nil
}

// blame adds what the server said to an error of the load's, which is often its consequence.
func (m *measuring) blame(err error) error {
	if said := m.server.stderr.String(); said != "" {
		return fmt.Errorf("%w; the server said: %s", err, said)
	}
	return err
}

type stat struct{ Goroutines, Mallocs int64 }

func (m *measuring) stat() (s stat, err error) {
	line, err := m.ask("stat")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		return s, fmt.Errorf("%s answered stat by %q: %w", m.server.name, line, err)
	}
	return s, nil
}

// rested is the server's memory when it has given back what it can.
func (m *measuring) rested() (int64, error) {
	answer, err := m.ask("rest")
	if err != nil {
		return 0, err
	}
	if answer != "ok" {
		return 0, fmt.Errorf("%s answered rest by %q", m.server.name, answer)
	}
	return residentBytes(m.server.cmd.Process.Pid)
}

func (m *measuring) ask(order string) (string, error) {
	if err := m.server.say(order); err != nil {
		return "", err
	}
	return m.server.line(soon)
}

func (m *measuring) stop() error {
	var errs []error
	for _, p := range []*process{m.load, m.server} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}
