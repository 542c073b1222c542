package main

import (
	"fmt"
	"strings"
)

// A reach is what evnet is to be measured by: the median of its rounds against a limit.
type reach struct {
	says     string
	workload string
	impl     string
	metric   *metric
	against  yardstick // the zero yardstick: the limit is of the value itself
	limit    float64
	note     string
}

// Fewer rounds than these say little.
const enoughRounds = 7

// An allocation in hundreds of messages is the runtime's own, and shows as 0.00.
const noAllocations = 0.005

var reaches = join(
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
	[]reach{
		{"15,000 idle connections", "idle-15000", "evnet onread", rssPerConn, againstPlain, 0.35, ""},
		{"15,000 idle connections", "idle-15000", "evnet onread", rssPerConn, yardstick{}, 600, "stretch"},
	},
	pair("Accept, one echo, close", "accept", "evnet onread", messagesPerSecond, 0.95, 0.95),
	[]reach{
		{"UDP echo of 64 B, 1 sender", "udp-64-1", "evnet dgram onread", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram message", messagesPerSecond, againstPlain, 1, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", allocations, yardstick{}, noAllocations, ""},
		{"UDP echo of 64 B, 16 senders", "udp-64-16", "evnet dgram onread", lost, yardstick{}, 0, "as plain net"},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet pipe", allocations, yardstick{}, noAllocations, ""},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet onread", allocations, yardstick{}, noAllocations, ""},
		{"Echo 64 B, 100 connections", "echo-64-100", "evnet data", allocations, yardstick{}, 1 + noAllocations, ""},
		{"10,000 connections cost like 100", "echo-64-10000", "evnet onread", cpuPerMessage, yardstick{workload: "echo-64-100"}, 1.3, ""},
	},
)

// pair is a reach against plain net and one against the best rival.
func pair(says, workload, impl string, m *metric, plain, rivals float64) []reach {
	return []reach{
		{says, workload, impl, m, againstPlain, plain, ""},
		{says, workload, impl, m, againstRivals, rivals, ""},
	}
}

func join(lists ...[]reach) (all []reach) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// judge tells what was measured, and whether it is what was to be reached.
func (r reach) judge(g results) (measured, verdict string) {
	s := g.compare(r.workload, r.impl, r.metric, r.against)
	if s.rounds == 0 {
		return "–", "not measured"
	}
	format := ratio
	if r.against == (yardstick{}) {
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

// opponent is what the reach is against. Of the rivals it names those that ran, when some did not.
func (r reach) opponent(g results) string {
	ran, all := g.rivals(r.workload)
	if !r.against.rivals || len(ran) == 0 || len(ran) == all {
		return r.against.String()
	}
	return "best of " + strings.Join(ran, ", ")
}

// bound is the limit as the table shows it.
func (r reach) bound() string {
	sign, limit := "≤", fmt.Sprintf("%.2f", r.limit)
	if r.metric.more {
		sign = "≥"
	}
	if r.against == (yardstick{}) {
		limit = r.metric.format(r.limit - r.slack())
	}
	if r.note != "" {
		limit += ", " + r.note
	}
	return sign + " " + limit
}

// slack is what the limit of a count has beyond the count that is meant.
func (r reach) slack() float64 {
	if r.metric == allocations {
		return noAllocations
	}
	return 0
}
