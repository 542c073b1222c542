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
	takers   []implementation
}

// A run measures its tasks and writes the results of each as it is done.
type run struct {
	lab      *lab
	out      string
	rounds   int
	tasks    []task
	files    uint64 // that a process may open
	machine  machine
	missing  map[string]string // programs that cannot be built here, and why
	progress io.Writer

	left  int // measurings to go
	done  int
	began time.Time
}

// roundsOf: memory hardly differs from round to round, and a quick run has no time to open
// thousands of connections often.
func (r *run) roundsOf(w *workload) int {
	if w.kind == "idle" && r.rounds < enoughRounds {
		return 1
	}
	return r.rounds
}

func (r *run) all() error {
	for _, t := range r.tasks {
		r.left += r.roundsOf(t.workload) * len(t.takers)
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

// measure runs the rounds of one workload. In each round the implementations take turns, and each
// round begins with another one, so that none has always the same before it.
func (r *run) measure(t task) []record {
	w := t.workload
	records := []record{{Workload: w.name, Machine: &r.machine}}
	if need := w.files(); need > r.files {
		why := fmt.Sprintf("it needs %d open files in a process, and the limit is %d: raise it by `ulimit -Hn %d`", need, r.files, need)
		r.left -= r.roundsOf(w) * len(t.takers)
		fmt.Fprintf(r.progress, "%s: left out: %s\n", w.name, why)
		return append(records, record{Workload: w.name, LeftOut: why})
	}
	unable := map[string]bool{}
	for round := range r.roundsOf(w) {
		fmt.Fprintf(r.progress, "%s: round %d of %d%s\n", w.name, round+1, r.roundsOf(w), r.estimate())
		for i := range t.takers {
			impl := t.takers[(i+round)%len(t.takers)]
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

// once measures, and makes a record of a failure too: one broken round of one implementation is no
// reason to lose the others.
func (r *run) once(w *workload, impl implementation) *record {
	if why, is := r.missing[impl.program]; is {
		return &record{Workload: w.name, Impl: impl.name, Unsupported: why}
	}
	rec, err := r.lab.measure(w, impl)
	if err == nil {
		return rec
	}
	var why unsupported
	if errors.As(err, &why) {
		return &record{Workload: w.name, Impl: impl.name, Unsupported: string(why)}
	}
	fmt.Fprintf(r.progress, "%s: %s has failed: %v\n", w.name, impl.name, err)
	return &record{Workload: w.name, Impl: impl.name, Failed: err.Error()}
}

func (r *run) estimate() string {
	if r.done == 0 {
		return ""
	}
	left := time.Since(r.began) / time.Duration(r.done) * time.Duration(r.left)
	return fmt.Sprintf(", about %v to go", left.Round(time.Second))
}
