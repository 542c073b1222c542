package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// A task is a workload and the implementations that run it.
type task struct {
	workload *workload
	impls    []implementation
}

// A run measures its tasks and writes the records of each task when the task is complete.
type run struct {
	env      *environment
	out      string
	rounds   int
	tasks    []task
	files    uint64 // the limit of open files of a process
	machine  machine
	missing  map[string]string // the programs that cannot be built here, with the reasons
	progress io.Writer

	left  int // remaining measurements
	done  int
	began time.Time
}

// roundsOf returns the number of rounds of a workload. A short run measures idle connections once:
// memory hardly differs between rounds, and opening thousands of connections takes long.
func (r *run) roundsOf(w *workload) int {
	if w.kind == "idle" && r.rounds < enoughRounds {
		return 1
	}
	return r.rounds
}

func (r *run) all() error {
	for _, t := range r.tasks {
		r.left += r.roundsOf(t.workload) * len(t.impls)
	}
	r.began = time.Now()
	for _, t := range r.tasks {
		records := r.measure(t)
		if err := replaceRaw(r.out, t.workload.name, records); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the rounds of one workload. Each round begins with another implementation, so that a
// different one comes first each time.
func (r *run) measure(t task) []record {
	w := t.workload
	records := []record{{Workload: w.name, Machine: &r.machine}}
	if need := w.files(); need > r.files {
		why := fmt.Sprintf("it needs %d open files per process, and the limit is %d: raise it with `ulimit -Hn %d`", need, r.files, need)
		r.left -= r.roundsOf(w) * len(t.impls)
		fmt.Fprintf(r.progress, "%s: skipped: %s\n", w.name, why)
		return append(records, record{Workload: w.name, LeftOut: why})
	}
	unable := map[string]bool{}
	for round := range r.roundsOf(w) {
		fmt.Fprintf(r.progress, "%s: round %d of %d%s\n", w.name, round+1, r.roundsOf(w), r.estimate())
		for i := range t.impls {
			impl := t.impls[(i+round)%len(t.impls)]
			r.left--
			if unable[impl.name] {
				continue
			}
			rec := r.once(w, impl)
			rec.Round = round + 1
			if rec.Unsupported != "" {
				unable[impl.name] = true
				rec.Round = 0
			} else {
				r.done++
			}
			records = append(records, *rec)
		}
	}
	return records
}

// once measures one implementation in one round. It records a failure too, so that the run continues
// with the other rounds and implementations.
func (r *run) once(w *workload, impl implementation) *record {
	if why, is := r.missing[impl.program]; is {
		return &record{Workload: w.name, Impl: impl.name, Unsupported: why}
	}
	rec, err := r.env.measure(w, impl)
	if err == nil {
		return rec
	}
	var why unsupported
	if errors.As(err, &why) {
		return &record{Workload: w.name, Impl: impl.name, Unsupported: string(why)}
	}
	fmt.Fprintf(r.progress, "%s: %s failed: %v\n", w.name, impl.name, err)
	return &record{Workload: w.name, Impl: impl.name, Failed: err.Error()}
}

func (r *run) estimate() string {
	if r.done == 0 {
		return ""
	}
	left := time.Since(r.began) / time.Duration(r.done) * time.Duration(r.left)
	return fmt.Sprintf(", about %v remaining", left.Round(time.Second))
}
