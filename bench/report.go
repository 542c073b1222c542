package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

const reportName = "results.md"

// A load generator that works for more than this share of the time may be what sets the pace.
const loadBound = 0.95

// writeReport writes the tables and the charts from the raw file alone.
func writeReport(dir string) error {
	records, err := readRaw(dir)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("%s has no records: run the benchmark first", filepath.Join(dir, rawName))
	}
	g := group(records)
	return errors.Join(
		replaceFile(filepath.Join(dir, reportName), []byte(report(records, g))),
		replaceFile(filepath.Join(dir, costChart), []byte(chart(g, "Cost of the server against plain net",
			"CPU per message or per GB; memory of idle connections; p99 beside a firehose. Less is better.",
			func(w *workload) *metric { return w.cost }))),
		replaceFile(filepath.Join(dir, rateChart), []byte(chart(g, "Rate against plain net",
			"Messages, bytes or connections per second. More is better.",
			func(w *workload) *metric { return w.rate }))),
	)
}

func report(records []record, g results) string {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by `go run . -report` from [" + rawName + "](" + rawName + "). " +
		"A figure is the median of the rounds. A ratio is taken in each round, between two servers that ran in it one soon after " +
		"the other; it stands as median (least..most). CPU is the server's processor time, that of the kernel for it included. " +
		"The best rival is in each round the best of gnet, nbio, netpoll, evio and gev.\n\n")
	writeMachines(&b, records)
	b.WriteString("## Reaches\n\n")
	writeReaches(&b, g)
	fmt.Fprintf(&b, "\n![%s](%s)\n\n![%s](%s)\n", "Cost of the server against plain net", costChart, "Rate against plain net", rateChart)
	for i := range workloads {
		writeWorkload(&b, &workloads[i], records, g)
	}
	return b.String()
}

// writeMachines tells where each workload was measured: together those of the same run.
func writeMachines(b *strings.Builder, records []record) {
	var names []string
	at := map[string]*machine{}
	on := map[string][]string{}
	for _, r := range records {
		if r.Machine == nil {
			continue
		}
		name := fmt.Sprintf("%+v", *r.Machine)
		if at[name] == nil {
			names = append(names, name)
			at[name] = r.Machine
		}
		on[name] = append(on[name], r.Workload)
	}
	b.WriteString("## Machine\n\n")
	for _, name := range names {
		m := at[name]
		var versions []string
		for _, impl := range implementations {
			if v := m.Versions[impl.name]; v != "" {
				versions = append(versions, impl.name+" "+v)
			}
		}
		fmt.Fprintf(b, "- %s: %s, %s, %d processors, %s, GOMAXPROCS %s; %s; %.3g s measured after %.2g s of warm-up",
			m.Date, m.Kernel, m.CPU, m.CPUs, m.Go, m.GOMAXPROCS, m.Pinning, m.Seconds, m.Warmup)
		if len(versions) > 0 {
			b.WriteString("; " + strings.Join(versions, ", "))
		}
		if len(names) > 1 {
			b.WriteString(": " + strings.Join(on[name], ", "))
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n")
}

func writeReaches(b *strings.Builder, g results) {
	row(b, "reach", "implementation", "of", "against", "bound", "measured", "verdict")
	row(b, "---", "---", "---", "---", "---", "---", "---")
	for _, r := range reaches {
		measured, verdict := r.judge(g)
		row(b, r.says, r.impl, r.metric.name, r.opponent(g), r.bound(), measured, verdict)
	}
}

func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func writeWorkload(b *strings.Builder, w *workload, records []record, g results) {
	var notes []string
	known := false
	for _, r := range records {
		if r.Workload != w.name {
			continue
		}
		known = true
		switch {
		case r.LeftOut != "":
			notes = append(notes, "Left out: "+r.LeftOut+".")
		case r.Unsupported != "":
			notes = append(notes, fmt.Sprintf("%s: not measured: %s.", r.Impl, r.Unsupported))
		case r.Failed != "":
			notes = append(notes, fmt.Sprintf("%s: round %d has failed: %s.", r.Impl, r.Round, strings.Join(strings.Fields(r.Failed), " ")))
		}
	}
	if !known {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", w.title)
	columns := columnsOf(w)
	if len(g[w.name]) > 0 {
		writeTable(b, w, g, columns)
	}
	if bound := boundByLoad(w, g); len(bound) > 0 {
		notes = append(notes, fmt.Sprintf("The load generator was busy for more than %s of the time with %s: what it tells of their rates is less than they can do.",
			percent(loadBound), strings.Join(bound, ", ")))
	}
	for _, n := range notes {
		b.WriteString("\n" + n + "\n")
	}
}

// A column is a figure, or the ratio of one to something else.
type column struct {
	metric  *metric
	against yardstick
}

func (c column) title(unit string) string {
	name := strings.Replace(c.metric.name, "message", unit, 1)
	if c.metric == messagesPerSecond {
		name = plural(unit) + " per second"
	}
	if c.against == (yardstick{}) {
		return name
	}
	return name + " / " + c.against.String()
}

func plural(unit string) string {
	if stem, ok := strings.CutSuffix(unit, "y"); ok {
		return stem + "ies"
	}
	return unit + "s"
}

func columnsOf(w *workload) (columns []column) {
	compared := func(m *metric) {
		columns = append(columns, column{metric: m}, column{m, againstPlain}, column{m, againstRivals})
	}
	compared(w.cost)
	if w.kind == "idle" {
		for _, m := range []*metric{rssPerConn0, rssBefore, rssOpen, rssRested, goroutines} {
			columns = append(columns, column{metric: m})
		}
		return columns
	}
	compared(w.rate)
	for _, m := range []*metric{latency50, latency99, latency999, rss, goroutines, allocations, serverShare, loadShare} {
		timed := m == latency50 || m == latency99 || m == latency999
		switch {
		case w.kind == "proxy" && timed: // it has no answers to wait for
		case w.kind == "firehose" && m == allocations: // its messages are the few of the quiet connection
		case m != w.cost:
			columns = append(columns, column{metric: m})
		}
	}
	if w.kind == "udp" {
		columns = append(columns, column{metric: lost})
	}
	return columns
}

func writeTable(b *strings.Builder, w *workload, g results, columns []column) {
	titles, rules := []string{"implementation", "rounds"}, []string{"---", "---:"}
	for _, c := range columns {
		titles, rules = append(titles, c.title(w.unit)), append(rules, "---:")
	}
	row(b, titles...)
	row(b, rules...)
	for _, impl := range implementations {
		if g[w.name][impl.name] == nil {
			continue
		}
		cells := []string{impl.name, fmt.Sprint(g.compare(w.name, impl.name, w.cost, yardstick{}).rounds)}
		for _, c := range columns {
			s := g.compare(w.name, impl.name, c.metric, c.against)
			switch {
			case s.rounds == 0:
				cells = append(cells, "–")
			case c.against == (yardstick{}):
				cells = append(cells, c.metric.format(s.median))
			default:
				cells = append(cells, s.String())
			}
		}
		row(b, cells...)
	}
}

func boundByLoad(w *workload, g results) (names []string) {
	for _, impl := range implementations {
		if g.compare(w.name, impl.name, loadShare, yardstick{}).median > loadBound {
			names = append(names, impl.name)
		}
	}
	return names
}
