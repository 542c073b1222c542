package main

import (
	"cmp"
	"fmt"
	"slices"
)

// A metric is one figure of a round. more is true if a larger value is better.
type metric struct {
	name   string
	more   bool
	format func(float64) string
	of     func(*record) (float64, bool)
}

var (
	cpuPerMessage     = &metric{"CPU per message", false, duration, loaded(func(r *record) float64 { return share(r.Load.ServerCPU, r.Load.Messages) })}
	cpuPerGB          = &metric{"CPU per GB", false, duration, loaded(func(r *record) float64 { return 1e9 * share(r.Load.ServerCPU, r.Load.Bytes) })}
	messagesPerSecond = &metric{"messages per second", true, count, loaded(func(r *record) float64 { return float64(r.Load.Messages) / r.Load.Seconds })}
	bytesPerSecond    = &metric{"bytes per second", true, size, loaded(func(r *record) float64 { return float64(r.Load.Bytes) / r.Load.Seconds })}
	latency50         = &metric{"p50", false, duration, loaded(func(r *record) float64 { return float64(r.Load.P50) })}
	latency99         = &metric{"p99", false, duration, loaded(func(r *record) float64 { return float64(r.Load.P99) })}
	latency999        = &metric{"p999", false, duration, loaded(func(r *record) float64 { return float64(r.Load.P999) })}
	loadShare         = &metric{"load's CPU", false, percent, loaded(func(r *record) float64 { return float64(r.Load.LoadCPU) / 1e9 / r.Load.Seconds })}
	serverShare       = &metric{"server's CPU", false, percent, loaded(func(r *record) float64 { return float64(r.Load.ServerCPU) / 1e9 / r.Load.Seconds })}
	lost              = &metric{"lost", false, count, loaded(func(r *record) float64 { return float64(r.Load.Lost) })}
	rss               = &metric{"RSS", false, size, func(r *record) (float64, bool) { return float64(r.RSS), r.RSS > 0 }}
	goroutines        = &metric{"goroutines", false, count, func(r *record) (float64, bool) { return float64(r.Goroutines), r.Goroutines > 0 }}
	allocations       = &metric{"allocations per message", false, number, func(r *record) (float64, bool) {
		if r.Mallocs == nil || r.Load == nil || r.Load.Messages == 0 {
			return 0, false
		}
		return share(*r.Mallocs, r.Load.Messages), true
	}}
	rssBefore   = &metric{"RSS before", false, size, func(r *record) (float64, bool) { return float64(r.RSSBefore), r.Conns > 0 }}
	rssOpen     = &metric{"RSS with all open", false, size, func(r *record) (float64, bool) { return float64(r.RSSOpen), r.Conns > 0 }}
	rssRested   = &metric{"RSS after a collection", false, size, func(r *record) (float64, bool) { return float64(r.RSSRested), r.Conns > 0 }}
	rssPerConn  = &metric{"RSS per connection", false, size, perConn(func(r *record) int64 { return r.RSSRested })}
	rssPerConn0 = &metric{"RSS per connection before the collection", false, size, perConn(func(r *record) int64 { return r.RSSOpen })}
)

// loaded restricts a metric to the rounds in which messages were carried.
func loaded(of func(*record) float64) func(*record) (float64, bool) {
	return func(r *record) (float64, bool) {
		if r.Load == nil || r.Load.Messages == 0 || r.Load.Bytes == 0 || r.Load.Seconds == 0 {
			return 0, false
		}
		return of(r), true
	}
}

func perConn(with func(*record) int64) func(*record) (float64, bool) {
	return func(r *record) (float64, bool) {
		if r.Conns == 0 {
			return 0, false
		}
		return share(with(r)-r.RSSBefore, int64(r.Conns)), true
	}
}

func share(all, of int64) float64 { return float64(all) / float64(of) }

func (m *metric) better(a, b float64) bool {
	if m.more {
		return a > b
	}
	return a < b
}

// results has the records by workload, implementation and round.
type results map[string]map[string]map[int]*record

func group(records []record) results {
	g := results{}
	for i := range records {
		r := &records[i]
		if r.Impl == "" {
			continue
		}
		if g[r.Workload] == nil {
			g[r.Workload] = map[string]map[int]*record{}
		}
		if g[r.Workload][r.Impl] == nil {
			g[r.Workload][r.Impl] = map[int]*record{}
		}
		g[r.Workload][r.Impl][r.Round] = r
	}
	return g
}

func (g results) value(workload, impl string, round int, m *metric) (float64, bool) {
	r := g[workload][impl][round]
	if r == nil || r.Failed != "" {
		return 0, false
	}
	return m.of(r)
}

// bestRival returns the best value of the rivals in a round.
func (g results) bestRival(workload string, round int, m *metric) (best float64, ok bool) {
	for _, impl := range implementations {
		if !impl.rival {
			continue
		}
		if v, has := g.value(workload, impl.name, round, m); has && (!ok || m.better(v, best)) {
			best, ok = v, true
		}
	}
	return best, ok
}

// rivals returns the names of the rivals that have figures for the workload, and the number of all rivals.
func (g results) rivals(workload string) (ran []string, all int) {
	for _, impl := range implementations {
		if !impl.rival {
			continue
		}
		all++
		for _, r := range g[workload][impl.name] {
			if r.Load != nil {
				ran = append(ran, impl.name)
				break
			}
		}
	}
	return ran, all
}

// A baseline selects the divisor of a ratio: the value of another implementation or of the best rival
// in the same round, or of the same implementation in another workload. With the zero baseline a value
// is not divided.
type baseline struct {
	impl     string
	rivals   bool
	workload string
}

var (
	againstPlain  = baseline{impl: plainNet}
	againstRivals = baseline{rivals: true}
)

func (a baseline) String() string {
	switch {
	case a.rivals:
		return "best rival"
	case a.workload != "":
		return a.workload
	case a.impl != "":
		return a.impl
	}
	return ""
}

// A spread is the median, minimum and maximum of the rounds.
type spread struct {
	median, min, max float64
	rounds           int
}

// compare divides the value by the baseline in each round that has both, and returns the spread of
// the ratios.
func (g results) compare(workload, impl string, m *metric, against baseline) spread {
	var all []float64
	for round := range g[workload][impl] {
		v, ok := g.value(workload, impl, round, m)
		by, has := 1.0, true
		switch {
		case against.rivals:
			by, has = g.bestRival(workload, round, m)
		case against.workload != "":
			by, has = g.value(against.workload, impl, round, m)
		case against.impl != "":
			by, has = g.value(workload, against.impl, round, m)
		}
		if ok && has && by != 0 {
			all = append(all, v/by)
		}
	}
	return spreadOf(all)
}

func spreadOf(all []float64) spread {
	if len(all) == 0 {
		return spread{}
	}
	slices.SortFunc(all, cmp.Compare[float64])
	middle := len(all) / 2
	median := all[middle]
	if len(all)%2 == 0 {
		median = (all[middle-1] + all[middle]) / 2
	}
	return spread{median, all[0], all[len(all)-1], len(all)}
}

// String returns "median (minimum..maximum)" of ratios, the median alone if there is only one round, or
// a dash if there is none.
func (s spread) String() string { return s.text(ratio) }

func (s spread) text(format func(float64) string) string {
	if s.rounds == 0 {
		return "–"
	}
	if s.rounds == 1 {
		return format(s.median)
	}
	return fmt.Sprintf("%s (%s..%s)", format(s.median), format(s.min), format(s.max))
}

func ratio(v float64) string { return fmt.Sprintf("%.3f", v) }
