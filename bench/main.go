// Command bench compares evnet with other ways of serving TCP and UDP, on Linux. From its own directory:
//
//	go run . -quick           less than two minutes, the reaches only, into a temporary directory
//	go run .                  everything, about an hour, into results
//	go run . -only '^line'    these workloads only; the results of the others stay
//	go run . -report          the tables and charts again, from results/raw.jsonl alone
//
// Each workload has rounds, in each of which every implementation runs once, in a fresh process on
// one processor, driven by the same load generator on another. What is compared are the ratios
// within a round: noise of the machine that lasts longer than a round is in both.
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
	flag.BoolVar(&o.quick, "quick", false, "measure roughly, in less than two minutes")
	flag.BoolVar(&o.report, "report", false, "measure nothing: write the tables and charts from the raw file")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each workload (default 7, with -quick 3)")
	flag.StringVar(&o.only, "only", "", "only the workloads whose name matches this `regexp`")
	flag.StringVar(&o.impl, "impl", "", "only the implementations whose name matches this `regexp`")
	flag.StringVar(&o.out, "out", "", "`directory` of the results (default results, or a temporary one with -quick or -impl)")
	flag.DurationVar(&o.duration, "duration", 0, "time of each measuring (default 1s, with -quick 300ms); a third of it goes before as warm-up")
	flag.Parse()
	if err := bench(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(o options) error {
	if o.rounds < 0 || o.duration < 0 {
		return fmt.Errorf("-rounds %d -duration %v: must be above 0", o.rounds, o.duration)
	}
	if _, err := os.Stat("servers"); err != nil {
		return fmt.Errorf("run me from the directory bench, where the servers are: %w", err)
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
		// Half of the implementations must not take the place of all.
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
	fmt.Println("results in", filepath.Join(o.out, reportName))
	return nil
}

// plan is what is to be measured.
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
			all = append(all, task{&workloads[i], workloads[i].takers(chosen)})
		}
	}
	for _, t := range all {
		if only.MatchString(t.workload.name) && len(t.takers) > 0 {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("-only %q -impl %q leave nothing to measure", o.only, o.impl)
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
	l := &lab{pins: tryPins(choosePins()), programs: map[string][]string{}, warmup: o.warmup, duration: o.duration}
	r := &run{
		lab: l, out: o.out, rounds: o.rounds, tasks: tasks, files: files, progress: os.Stdout,
		machine: thisMachine(l.pins, o.duration, o.warmup), missing: map[string]string{},
	}
	fmt.Println("building the programs")
	if l.loadPath, err = buildLoad(dir); err != nil {
		return err
	}
	for _, t := range tasks {
		for _, impl := range t.takers {
			if l.programs[impl.program] != nil || r.missing[impl.program] != "" {
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
			l.programs[impl.program] = argv
			if v := version(argv[0], impl.module); v != "" {
				r.machine.Versions[impl.name] = v
			}
		}
	}
	return r.all()
}
