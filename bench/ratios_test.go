package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/bench/figures"
)

// roundRecord returns the record of a round of one second with messages of 64 B, of which each takes cpu
// nanoseconds.
func roundRecord(workload, impl string, round int, cpu, messages int64) record {
	mallocs := messages
	return record{Workload: workload, Impl: impl, Round: round, RSS: 5 << 20, Goroutines: 3, Mallocs: &mallocs,
		Load: &figures.Load{Messages: messages, Bytes: 64 * messages, Seconds: 1, P50: 10, P99: 20, P999: 30,
			ServerCPU: cpu * messages, LoadCPU: 5e8}}
}

func TestCompare_TakesRatiosWithinARound(t *testing.T) {
	g := group([]record{
		roundRecord("echo-64-100", "evnet onread", 1, 80, 100), roundRecord("echo-64-100", plainNet, 1, 100, 100),
		roundRecord("echo-64-100", "evnet onread", 2, 800, 10), roundRecord("echo-64-100", plainNet, 2, 1000, 10),
		roundRecord("echo-64-100", "evnet onread", 3, 90, 100), roundRecord("echo-64-100", plainNet, 3, 100, 50),
		roundRecord("echo-64-100", "evnet onread", 4, 1, 100), // plain net has no such round
	})
	assert.Equal(t, spread{0.8, 0.8, 0.9, 3}, g.compare("echo-64-100", "evnet onread", cpuPerMessage, againstPlain))
	assert.Equal(t, spread{1, 1, 2, 3}, g.compare("echo-64-100", "evnet onread", messagesPerSecond, againstPlain))
	assert.Equal(t, spread{1, 1, 1, 4}, g.compare("echo-64-100", "evnet onread", allocations, baseline{}))
	assert.Zero(t, g.compare("echo-64-100", "evnet onread", cpuPerMessage, againstRivals).rounds, "no rival has run")
	assert.Zero(t, g.compare("line-100", "evnet scan", cpuPerMessage, againstPlain).rounds, "nothing has run")
}

func TestBestRival_IsChosenPerRound(t *testing.T) {
	g := group([]record{
		roundRecord("echo-64-1", "gnet", 1, 50, 10), roundRecord("echo-64-1", "evio", 1, 70, 30),
		roundRecord("echo-64-1", "gnet", 2, 60, 40), roundRecord("echo-64-1", "evio", 2, 40, 20),
		roundRecord("echo-64-1", "C epoll", 1, 1, 1000), roundRecord("echo-64-1", plainNet, 1, 1, 1000),
		{Workload: "echo-64-1", Impl: "gev", Round: 1, Failed: "connection refused"},
		{Workload: "echo-64-1", Impl: "nbio", Unsupported: "not supported"},
	})
	for round, want := range map[int][2]float64{1: {50, 30}, 2: {40, 40}} {
		cpu, ok := g.bestRival("echo-64-1", round, cpuPerMessage)
		require.True(t, ok)
		assert.Equal(t, want[0], cpu, "the least CPU of round %d", round)
		rate, _ := g.bestRival("echo-64-1", round, messagesPerSecond)
		assert.Equal(t, want[1], rate, "the most messages of round %d", round)
	}
	_, ok := g.bestRival("echo-64-1", 3, cpuPerMessage)
	assert.False(t, ok)
}

func TestCompare_MemoryPerConnection(t *testing.T) {
	g := group([]record{{Workload: "idle-15000", Impl: plainNet, Round: 1, Conns: 100, RSSBefore: 1000, RSSOpen: 41000, RSSRested: 31000}})
	assert.Equal(t, 300.0, g.compare("idle-15000", plainNet, rssPerConn, baseline{}).median)
	assert.Equal(t, 400.0, g.compare("idle-15000", plainNet, rssPerConn0, baseline{}).median)
}

func TestSpread_MedianOfEvenNumber(t *testing.T) {
	assert.Equal(t, spread{2.5, 1, 4, 4}, spreadOf([]float64{4, 1, 3, 2}))
	assert.Equal(t, "2.500 (1.000..4.000)", spreadOf([]float64{4, 1, 3, 2}).String())
	assert.Equal(t, "2.000", spreadOf([]float64{2}).String())
	assert.Equal(t, "–", spreadOf(nil).String())
}

func TestUnits(t *testing.T) {
	assert.Equal(t, "640 ns", duration(640))
	assert.Equal(t, "1.23 µs", duration(1234))
	assert.Equal(t, "46.7 ms", duration(46.7e6))
	assert.Equal(t, "2 s", duration(2e9))
	assert.Equal(t, "600 B", size(600))
	assert.Equal(t, "-1.20 KB", size(-1200))
	assert.Equal(t, "59.8 MB", size(59.8e6))
	assert.Equal(t, "1.18 GB", size(1.18e9))
	assert.Equal(t, "1,234,567", count(1234567))
	assert.Equal(t, "123", count(123))
}
