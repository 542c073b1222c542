package main

import (
	"fmt"
	"strings"
)

// A target is a bound for the median of the rounds of one implementation in one workload.
type target struct {
	title    string
	workload string
	impl     string
	metric   *metric
	against  baseline // with the zero baseline the bound is for the value itself
	limit    float64
	note     string
}

// enoughRounds is the number of rounds from which a result is not called rough.
const enoughRounds = 7

// noAllocations is the limit for a count that the tables show as 0.00. The runtime itself allocates
// once in some hundreds of messages.
const noAllocations = 0.005

var targets = join(
	pair("Echo 64 B, 100 connections", "echo-64-100", "evnet onread", cpuPerMessage, 0.88, 0.98),
	pair("Echo 64 B, 100 connections", "echo-64-100", "evnet data", cpuPerMessage, 0.92, 1.02),
	pair("Echo 1 KB, 1,000 connections", "echo-1k-1000", "evnet onread", cpuPerMessage, 0.82, 0.98),
	pair("Echo 1 KB, 1,000 connections", "echo-1k-1000", "evnet data", cpuPerMessage, 0.92, 1.10),
	pair("Echo 64 B, 1 connection", "echo-64-1", "evnet onread", messagesPerSecond, 1, 0.97),
	pair("Echo 64 B, 10 connections", "echo-64-10", "evnet onread", messagesPerSecond, 1, 0.97),
	pair("Echo 16 KB, 10 connections", "echo-16k-10", "evnet onread", bytesPerSecond, 1.05, 1),
	pair("Echo 64 KB, 10 connections", "echo-64k-10", "evnet onread", bytesPerSecond, 1.05, 1),
	pair("Line echo, a write for each line", "line-100", "evnet scan", messagesPerSecond, 3, 1.5),
	pair("Broadcast to 1,000", "broadcast-1000", "evnet scan", messagesPerSecond, 3, 1.5),
	pair("Proxy, 64 KB writes", "proxy-64k", "evnet relay", cpuPerGB, 1.05, 0.7),
	[]target{
		{"15,000 idle connections", "idle-15000", "evnet onread", rssPerConn, againstPlain, 0.35, ""},
		{"15,000 idle connections", "idle-15000", "evnet onread", rssPerConn, baseline{}, 600, "stretch"},
	},
	pair("Accept, one echo, close", "accept", "evnet onread", messagesPerSecond, 0.95, 0.95),
	[]target{
		{"UDP echo of 64 B, 1 sender", "udp-64-1", "evnet dgram onread", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram message", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", allocations, baseline{}, noAllocations, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", lost, baseline{}, 0, "as plain net"},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet pipe", allocations, baseline{}, noAllocations, ""},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet onread", allocations, baseline{}, noAllocations, ""},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet data", allocations, baseline{}, 1 + noAllocations, ""},
		{"Echo 64 B, 10,000 connections", "echo-64-10000", "evnet onread", cpuPerMessage, baseline{workload: "echo-64-100"}, 1.3, ""},
	},
)

// pair returns a target relative to plain net and one relative to the best rival.
func pair(title, workload, impl string, m *metric, plain, rivals float64) []target {
	return []target{
		{title, workload, impl, m, againstPlain, plain, ""},
		{title, workload, impl, m, againstRivals, rivals, ""},
	}
}

func join(lists ...[]target) (all []target) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// evaluate returns the measured value and whether it meets the target.
func (r target) evaluate(g results) (measured, verdict string) {
	s := g.compare(r.workload, r.impl, r.metric, r.against)
	if s.rounds == 0 {
		return "–", "not measured"
	}
	format := ratio
	if r.against == (baseline{}) {
		format = r.metric.format
	}
	verdict = "met"
	if r.metric.better(r.limit, s.median) {
		verdict = "**not met**"
	}
	if s.rounds < enoughRounds {
		verdict += fmt.Sprintf(", roughly (rounds: %d)", s.rounds)
	}
	return s.text(format), verdict
}

// baselineName returns the name of the baseline. If only some of the rivals support the workload, it
// lists them.
func (r target) baselineName(g results) string {
	ran, all := g.rivals(r.workload)
	if !r.against.rivals || len(ran) == 0 || len(ran) == all {
		return r.against.String()
	}
	return "best of " + strings.Join(ran, ", ")
}

// bound formats the limit for the table.
func (r target) bound() string {
	sign, limit := "≤", fmt.Sprintf("%.2f", r.limit)
	if r.metric.more {
		sign = "≥"
	}
	if r.against == (baseline{}) {
		limit = r.metric.format(r.limit - r.slack())
	}
	if r.note != "" {
		limit += ", " + r.note
	}
	return sign + " " + limit
}

// slack returns the tolerance that is included in the limit of a count.
func (r target) slack() float64 {
	if r.metric == allocations {
		return noAllocations
	}
	return 0
}
