// Command bench compares evnet with other ways of serving TCP and UDP, on Linux. From its own directory:
//
//	go run . -quick           measure the targets only, in less than two minutes; write to a temporary directory
//	go run .                  measure everything, in about an hour; write to results
//	go run . -only '^line'    measure these workloads only; keep the results of the others
//	go run . -report          measure nothing; write the tables and charts again from results/raw.jsonl
//
// Each workload is measured in several rounds. In each round every implementation runs once, in a new
// process on one processor. The load generator runs on another processor. Implementations are compared
// by the ratio of their figures within a round, because noise of the machine that lasts longer than a
// round affects both.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

type options struct {
	quick, report    bool
	rounds           int
	only, impl       string
	out              string
	duration, warmup time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "measure fewer and shorter rounds, in less than two minutes; without -impl measure the targets only")
	flag.BoolVar(&o.report, "report", false, "write the tables and charts from the raw file, without measuring")
	flag.IntVar(&o.rounds, "rounds", 0, "number of rounds of each workload (default 7, with -quick 3)")
	flag.StringVar(&o.only, "only", "", "measure only the workloads whose name matches `regexp`")
	flag.StringVar(&o.impl, "impl", "", "measure only the implementations whose name matches `regexp`")
	flag.StringVar(&o.out, "out", "", "write the results to `directory` (default results; with -quick or -impl a temporary directory)")
	flag.DurationVar(&o.duration, "duration", 0, "duration of each measurement (default 1s, with -quick 300ms); a warm-up of a third of it comes first")
	flag.Parse()
	if err := bench(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(o options) error {
	if o.rounds < 0 || o.duration < 0 {
		return fmt.Errorf("-rounds %d -duration %v: must not be negative", o.rounds, o.duration)
	}
	if _, err := os.Stat("servers"); err != nil {
		return fmt.Errorf("not started in the directory bench: %w", err)
	}
	if o.rounds == 0 {
		o.rounds = enoughRounds
		if o.quick {
			o.rounds = 3
		}
	}
	if o.duration == 0 {
		o.duration = time.Second
		if o.quick {
			o.duration = 300 * time.Millisecond
		}
	}
	o.warmup = o.duration / 3
	if o.out == "" {
		o.out = "results"
		// A partial run must not replace the results of a full run.
		if !o.report && (o.quick || o.impl != "") {
			dir, err := os.MkdirTemp("", "bench-")
			if err != nil {
				return err
			}
			o.out = dir
		}
	}
	if o.report {
		return writeReport(o.out)
	}
	tasks, err := plan(o)
	if err != nil {
		return err
	}
	if err := measureAll(o, tasks); err != nil {
		return err
	}
	if err := writeReport(o.out); err != nil {
		return err
	}
	fmt.Println("results written to", filepath.Join(o.out, reportName))
	return nil
}

// plan returns the workloads and implementations that the options select.
func plan(o options) (tasks []task, err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	impl, err := regexp.Compile(o.impl)
	if err != nil {
		return nil, fmt.Errorf("-impl: %w", err)
	}
	chosen := func(i implementation) bool { return impl.MatchString(i.name) }
	var all []task
	if o.quick && o.impl == "" {
		all = quickPlan()
	} else {
		for i := range workloads {
			all = append(all, task{&workloads[i], workloads[i].implementations(chosen)})
		}
	}
	for _, t := range all {
		if only.MatchString(t.workload.name) && len(t.impls) > 0 {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("-only %q -impl %q: no workload and implementation match", o.only, o.impl)
	}
	return tasks, nil
}

func measureAll(o options, tasks []task) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	files, err := raiseFileLimit()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-programs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	env := &environment{pins: tryPins(choosePins()), programs: map[string][]string{}, warmup: o.warmup, duration: o.duration}
	r := &run{
		env: env, out: o.out, rounds: o.rounds, tasks: tasks, files: files, progress: os.Stdout,
		machine: thisMachine(env.pins, o.duration, o.warmup), missing: map[string]string{},
	}
	fmt.Println("building the server programs")
	if env.loadPath, err = buildLoad(dir); err != nil {
		return err
	}
	for _, t := range tasks {
		for _, impl := range t.impls {
			if env.programs[impl.program] != nil || r.missing[impl.program] != "" {
				continue
			}
			argv, missing, err := build(dir, impl.program)
			if err != nil {
				return err
			}
			if missing != "" {
				r.missing[impl.program] = missing
				continue
			}
			env.programs[impl.program] = argv
			if v := version(argv[0], impl.module); v != "" {
				r.machine.Versions[impl.name] = v
			}
		}
	}
	return r.all()
}
