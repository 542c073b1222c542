package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writeSample writes a raw file and its report to a new directory. Over seven rounds evnet meets its
// target relative to plain net with OnRead, and does not with Data. Another workload was skipped.
func writeSample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := machine{Date: "2026-01-02 03:04 UTC", Kernel: "Linux 6", CPU: "A processor", CPUs: 2, Go: "go1.26", Versions: map[string]string{"gnet": "v2.9.1"}}
	records := []record{{Workload: "echo-64-100", Machine: &m}}
	for round := 1; round <= 7; round++ {
		records = append(records,
			roundRecord("echo-64-100", "evnet onread", round, 80, 1000),
			roundRecord("echo-64-100", "evnet data", round, 95, 1000),
			roundRecord("echo-64-100", plainNet, round, 100, 1000))
	}
	slow := roundRecord("echo-64-100", "gnet", 1, 90, 1000)
	slow.Load.LoadCPU = 99e7
	records = append(records, slow, record{Workload: "echo-64-100", Impl: "gnet", Round: 2, Failed: "it\nfell & over"},
		record{Workload: "echo-64-100", Impl: "Node", Unsupported: "node is not installed"})
	require.NoError(t, replaceRaw(dir, "echo-64-100", records))
	require.NoError(t, replaceRaw(dir, "idle-15000", []record{{Workload: "idle-15000", Machine: &m},
		{Workload: "idle-15000", LeftOut: "it needs 15064 open files"}}))
	require.NoError(t, writeReport(dir))
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(content)
}

func TestReport_FromTheRawFileOnly(t *testing.T) {
	report := read(t, writeSample(t), reportName)
	for _, want := range []string{
		"2026-01-02 03:04 UTC: Linux 6, A processor, 2 processors, go1.26",
		"gnet v2.9.1",
		"| Echo 64 B, 100 connections | evnet onread | CPU per message | plain net | ≤ 0.88 | 0.800 (0.800..0.800) | met |",
		"| Echo 64 B, 100 connections | evnet data | CPU per message | plain net | ≤ 0.92 | 0.950 (0.950..0.950) | **not met** |",
		"| Echo 64 B, 100 connections | evnet onread | CPU per message | best of gnet | ≤ 0.98 | 0.889 | met, roughly (rounds: 1) |",
		"| Echo 64 B, 100 connections | evnet data | allocations per message |  | ≤ 1.00 | 1.00 (1.00..1.00) | met |",
		"| Echo 64 B, 100 connections | evnet onread | allocations per message |  | ≤ 0.00 | 1.00 (1.00..1.00) | **not met** |",
		"| Line echo, a write for each line | evnet scan | messages per second | plain net | ≥ 3.00 | – | not measured |",
		"| 15,000 idle connections | evnet onread | RSS per connection |  | ≤ 600 B, stretch | – | not measured |",
		"## Echo of 64 B, 100 connections\n",
		"gnet: round 2 failed: it fell & over.",
		"Node: not measured: node is not installed.",
		"used more than 95 % of its processor with gnet.",
		"\nNot measured: it needs 15064 open files.",
	} {
		assert.Contains(t, report, want)
	}
	assert.NotContains(t, report, "## Proxy", "a workload without records has no table")
	for line := range strings.Lines(report) {
		if strings.HasPrefix(line, "| evnet data | 7 ") {
			assert.Contains(t, line, "| 95 ns | 0.950 (0.950..0.950) |")
			return
		}
	}
	t.Error("evnet data has no row")
}

func TestChart_IsWellFormed(t *testing.T) {
	dir := writeSample(t)
	for _, name := range []string{costChart, rateChart, summaryChart} {
		content := read(t, dir, name)
		bars := 0
		for d := xml.NewDecoder(strings.NewReader(content)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
				bars++
			}
		}
		assert.Equal(t, 1+4, bars, "%s: the background and a bar for each measured implementation", name)
		assert.NotRegexp(t, regexp.MustCompile(`NaN|Inf`), content)
		assert.Contains(t, content, "evnet onread")
	}
}

func TestChart_WithoutPanelsIsWellFormed(t *testing.T) {
	assert.NoError(t, xml.Unmarshal([]byte(chart(results{}, "a < b", "c & d", func(w *workload) *metric { return w.rate })), new(struct{})))
}

func TestReplaceRaw_ReplacesOneWorkload(t *testing.T) {
	dir := writeSample(t)
	before, err := readRaw(dir)
	require.NoError(t, err)
	require.NoError(t, replaceRaw(dir, "echo-64-100", []record{roundRecord("echo-64-100", plainNet, 1, 5, 5)}))
	after, err := readRaw(dir)
	require.NoError(t, err)
	assert.Greater(t, len(before), 20)
	require.Len(t, after, 3)
	assert.Equal(t, "idle-15000", after[0].Workload)
	assert.EqualValues(t, 5, after[2].Load.Messages)
}

func TestWriteReport_ReportsInvalidRawFiles(t *testing.T) {
	dir := t.TempDir()
	assert.ErrorContains(t, writeReport(dir), "run the benchmark first")
	name := filepath.Join(dir, rawName)
	require.NoError(t, os.WriteFile(name, []byte("{\"workload\":\"accept\"}\nnonsense\n"), 0o644))
	assert.ErrorContains(t, writeReport(dir), rawName+":2:")
	require.NoError(t, os.WriteFile(name, []byte("{\"workload\":\"telepathy\"}\n"), 0o644))
	assert.ErrorContains(t, writeReport(dir), `no workload "telepathy"`)
}

func TestTargets_AreMeasuredByFullAndQuickRuns(t *testing.T) {
	quick := map[string]bool{}
	for _, task := range quickPlan() {
		for _, impl := range task.impls {
			quick[task.workload.name+" "+impl.name] = true
		}
	}
	for _, r := range targets {
		w := findWorkload(r.workload)
		require.NotNil(t, w, r.workload)
		names := []string{}
		for _, impl := range w.implementations(func(implementation) bool { return true }) {
			names = append(names, impl.name)
		}
		assert.Contains(t, names, r.impl, r.workload)
		assert.True(t, quick[r.workload+" "+r.impl], "%s %s", r.workload, r.impl)
		assert.True(t, quick[r.workload+" "+plainNet], r.workload)
		if r.against.workload != "" {
			assert.True(t, quick[r.against.workload+" "+r.impl], r.against.workload)
		}
	}
}
