package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// If this variable is set, the test binary is a server on package net.
const asServer = "BENCH_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		serve()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve() {
	kind := flag.String("workload", "", "")
	flag.Int("size", 0, "")
	flag.String("upstream", "", "")
	mode := flag.String("mode", "", "")
	flag.Parse()
	switch {
	case *kind == "proxy":
		fmt.Fprintln(os.Stderr, "unsupported: it has no client")
		os.Exit(unsupportedStatus)
	case *mode == "broken":
		fmt.Fprintln(os.Stderr, "broken on purpose")
		os.Exit(1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(struct{ io.Writer }{c}, c) }()
		}
	}()
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		if commands.Text() == "rest" {
			fmt.Println("ok")
		} else {
			fmt.Println(`{"goroutines":7,"mallocs":1000}`)
		}
	}
}

func testEnvironment(t *testing.T) *environment {
	t.Helper()
	t.Setenv(asServer, "1")
	path, err := buildLoad(t.TempDir())
	require.NoError(t, err)
	return &environment{pins: tryPins(choosePins()), loadPath: path, programs: map[string][]string{"plain": {os.Args[0]}},
		warmup: 20 * time.Millisecond, duration: 100 * time.Millisecond}
}

func TestRun_WritesItsRecords(t *testing.T) {
	env := testEnvironment(t)
	out := t.TempDir()
	small := echo("echo-64-100", "", 64, 10, 1)
	idleConns := workload{name: "idle-15000", kind: "idle", size: 64, conns: 50, depth: 1, cost: rssPerConn}
	proxied := workload{name: "proxy-64k", kind: "proxy", size: 64, conns: 5, depth: 1, cost: cpuPerGB}
	huge := echo("echo-64-10000", "", 64, 1000, 1)
	impls := []implementation{{name: plainNet, program: "plain"},
		{name: "gnet", program: "plain", flags: []string{"-mode", "broken"}}, {name: "Node", program: "node"}}
	var progress bytes.Buffer
	r := &run{env: env, out: out, rounds: 2, files: 500, progress: &progress, missing: map[string]string{"node": "node is not installed"},
		tasks: []task{{&small, impls}, {&idleConns, impls[:1]}, {&proxied, impls[:1]}, {&huge, impls}}}
	require.NoError(t, r.all())
	records, err := readRaw(out)
	require.NoError(t, err)
	g := group(records)
	for round := 1; round <= 2; round++ {
		echoed := g["echo-64-100"][plainNet][round]
		require.NotNil(t, echoed)
		require.Empty(t, echoed.Failed)
		assert.Positive(t, echoed.Load.Messages)
		assert.Positive(t, echoed.Load.ServerCPU)
		assert.Positive(t, echoed.RSS)
		assert.EqualValues(t, 7, echoed.Goroutines)
		assert.Zero(t, *echoed.Mallocs)
		assert.Contains(t, g["echo-64-100"]["gnet"][round].Failed, "broken on purpose")
	}
	assert.Equal(t, "node is not installed", g["echo-64-100"]["Node"][0].Unsupported)
	assert.Equal(t, "it has no client", g["proxy-64k"][plainNet][0].Unsupported)
	idle := g["idle-15000"][plainNet]
	require.Len(t, idle, 1, "a short run measures memory in one round")
	assert.Equal(t, 50, idle[1].Conns)
	assert.Positive(t, idle[1].RSSBefore)
	assert.Positive(t, idle[1].RSSRested)
	assert.Contains(t, records[len(records)-1].LeftOut, "ulimit -Hn 1064")
	assert.Contains(t, progress.String(), "echo-64-100: round 2 of 2, about")
	assert.Contains(t, progress.String(), "echo-64-10000: skipped")
	assert.Zero(t, r.left)
	require.NoError(t, writeReport(out))
	assert.FileExists(t, filepath.Join(out, reportName))
}

func TestPlan_ReportsEmptyPlan(t *testing.T) {
	_, err := plan(options{only: "nowhere"})
	assert.ErrorContains(t, err, `-only "nowhere"`)
	_, err = plan(options{only: "("})
	assert.ErrorContains(t, err, "-only: ")
	_, err = plan(options{impl: "("})
	assert.ErrorContains(t, err, "-impl: ")
	tasks, err := plan(options{only: "^proxy", impl: "^evnet"})
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	require.Len(t, tasks[0].impls, 1)
	assert.Equal(t, "evnet relay", tasks[0].impls[0].name)
}
