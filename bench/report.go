package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

const reportName = "results.md"

// loadBound is the share of processor time above which the load generator may limit the rates.
const loadBound = 0.95

// writeReport writes the tables and the charts from the raw file.
func writeReport(dir string) error {
	records, err := readRaw(dir)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("%s: no records: run the benchmark first", filepath.Join(dir, rawName))
	}
	g := group(records)
	return errors.Join(
		replaceFile(filepath.Join(dir, reportName), []byte(report(records, g))),
		replaceFile(filepath.Join(dir, costChart), []byte(chart(g, costTitle,
			"CPU per message or per GB, memory per idle connection, p99 latency beside a firehose. Lower is better.",
			func(w *workload) *metric { return w.cost }))),
		replaceFile(filepath.Join(dir, rateChart), []byte(chart(g, rateTitle,
			"Messages, bytes or connections per second. Higher is better.",
			func(w *workload) *metric { return w.rate }))),
		replaceFile(filepath.Join(dir, summaryChart), []byte(chart(g, rateTitle,
			"Messages, bytes or connections per second. Higher is better.",
			func(w *workload) *metric {
				if !slices.Contains(inSummary, w.name) {
					return nil
				}
				return w.rate
			}))),
	)
}

const (
	costTitle = "Server cost relative to plain net"
	rateTitle = "Rate relative to plain net"
)

const introduction = "# Results\n\n" +
	"`go run . -report` writes this file from [" + rawName + "](" + rawName + ").\n\n" +
	"- A single figure is the median of all rounds.\n" +
	"- A ratio compares two servers that ran shortly after each other in the same round. " +
	"It is written as median (minimum..maximum) of the rounds.\n" +
	"- CPU is the processor time of the server, including the time that the kernel spends on its behalf.\n" +
	"- The best rival is the best of gnet, nbio, netpoll, evio and gev in each round.\n\n"

func report(records []record, g results) string {
	var b strings.Builder
	b.WriteString(introduction)
	writeMachines(&b, records)
	b.WriteString("## Targets\n\n")
	writeTargets(&b, g)
	fmt.Fprintf(&b, "\n![%s](%s)\n\n![%s](%s)\n", costTitle, costChart, rateTitle, rateChart)
	for i := range workloads {
		writeWorkload(&b, &workloads[i], records, g)
	}
	return b.String()
}

// writeMachines lists the machines and runs, each with the workloads that were measured in it.
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
		fmt.Fprintf(b, "- %s: %s, %s, %d processors, %s, GOMAXPROCS %s; %s; measured for %.3g s after a warm-up of %.2g s",
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

func writeTargets(b *strings.Builder, g results) {
	row(b, "target", "implementation", "metric", "compared with", "bound", "measured", "result")
	row(b, "---", "---", "---", "---", "---", "---", "---")
	for _, r := range targets {
		measured, verdict := r.evaluate(g)
		row(b, r.title, r.impl, r.metric.name, r.baselineName(g), r.bound(), measured, verdict)
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
			notes = append(notes, "Not measured: "+r.LeftOut+".")
		case r.Unsupported != "":
			notes = append(notes, fmt.Sprintf("%s: not measured: %s.", r.Impl, r.Unsupported))
		case r.Failed != "":
			notes = append(notes, fmt.Sprintf("%s: round %d failed: %s.", r.Impl, r.Round, strings.Join(strings.Fields(r.Failed), " ")))
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
		notes = append(notes, fmt.Sprintf("The load generator used more than %s of its processor with %s. It may have limited these rates: the servers can be faster.",
			percent(loadBound), strings.Join(bound, ", ")))
	}
	for _, n := range notes {
		b.WriteString("\n" + n + "\n")
	}
}

// A column is a metric, or its ratio to a baseline.
type column struct {
	metric  *metric
	against baseline
}

func (c column) title(unit string) string {
	name := strings.Replace(c.metric.name, "message", unit, 1)
	if c.metric == messagesPerSecond {
		name = plural(unit) + " per second"
	}
	if c.against == (baseline{}) {
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
	addCompared := func(m *metric) {
		columns = append(columns, column{metric: m}, column{m, againstPlain}, column{m, againstRivals})
	}
	addCompared(w.cost)
	if w.kind == "idle" {
		for _, m := range []*metric{rssPerConn0, rssBefore, rssOpen, rssRested, goroutines} {
			columns = append(columns, column{metric: m})
		}
		return columns
	}
	addCompared(w.rate)
	for _, m := range []*metric{latency50, latency99, latency999, rss, goroutines, allocations, serverShare, loadShare} {
		timed := m == latency50 || m == latency99 || m == latency999
		switch {
		case w.kind == "proxy" && timed: // messages are not answered, so there is no latency
		case w.kind == "firehose" && m == allocations: // only the few messages of the quiet connection are counted
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
		cells := []string{impl.name, fmt.Sprint(g.compare(w.name, impl.name, w.cost, baseline{}).rounds)}
		for _, c := range columns {
			s := g.compare(w.name, impl.name, c.metric, c.against)
			switch {
			case s.rounds == 0:
				cells = append(cells, "–")
			case c.against == (baseline{}):
				cells = append(cells, c.metric.format(s.median))
			default:
				cells = append(cells, s.String())
			}
		}
		row(b, cells...)
	}
}

// boundByLoad returns the implementations whose rates the load generator may have limited.
func boundByLoad(w *workload, g results) (names []string) {
	for _, impl := range implementations {
		if g.compare(w.name, impl.name, loadShare, baseline{}).median > loadBound {
			names = append(names, impl.name)
		}
	}
	return names
}
