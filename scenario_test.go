package evnet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded traces of Node, testdata/traces.json, as scenarios: each script is played on evnet,
// and on Node where it is installed, and the traces are compared three ways.

func contextWithCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

// recorded is one entry of testdata/traces.json.
type recorded struct {
	Name         string
	Platform     string
	Trace        json.RawMessage
	TraceSince22 json.RawMessage
}

func byActor(trace json.RawMessage) traceLines {
	all := traceLines{}
	var flat []string
	if json.Unmarshal(trace, &flat) != nil {
		_ = json.Unmarshal(trace, &all)
		return all
	}
	for _, line := range flat {
		actor, what, _ := strings.Cut(line, ":")
		all[actor] = append(all[actor], what)
	}
	return all
}

func recordedTraces(t testing.TB) []recorded {
	text, err := os.ReadFile("testdata/traces.json")
	require.NoError(t, err)
	var all []recorded
	require.NoError(t, json.Unmarshal(text, &all))
	slices.SortFunc(all, func(a, b recorded) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// nodeVersion is the installed Node: its version, 0 if there is none.
var nodeVersion = sync.OnceValue(func() int {
	out, err := exec.Command("node", "-p", "process.versions.node").Output()
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(string(out), ".")
	n, _ := strconv.Atoi(major)
	return n
})

// playOnNode plays scenarios on Node, a few at a time; the result of each is asked for by name.
func playOnNode(scripts []*script) func(name string) (traceLines, error) {
	type result struct {
		lines traceLines
		err   error
		done  chan struct{}
	}
	results := map[string]*result{}
	atOnce := make(chan struct{}, runtime.NumCPU())
	for _, s := range scripts {
		r := &result{done: make(chan struct{})}
		results[s.name] = r
		go func() {
			defer close(r.done)
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "node", "testdata/node/scenario.js", "testdata/scenarios/"+s.name+".txt")
			cmd.Env = append(os.Environ(), fmt.Sprint("SCALE=", int(ms/1e6)))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err == nil {
				err = json.Unmarshal(out, &r.lines)
			}
			if err != nil {
				r.err = fmt.Errorf("%w: %s", err, &stderr)
			}
		}()
	}
	return func(name string) (traceLines, error) {
		r := results[name]
		<-r.done
		return r.lines, r.err
	}
}

// expected is what a script is to show on evnet: Node's trace but for what differs.
func (s *script) expected() traceLines {
	want := traceLines{}
	for actor, all := range s.nodeTrace(22) {
		want[actor] = merged(all, counterpart)
	}
	for actor, all := range s.evnet {
		want[actor] = merged(all, nil)
	}
	return want
}

// nodeTrace is the recorded trace of a version of Node.
func (s *script) nodeTrace(version int) traceLines {
	if version >= 22 && s.since22 != nil {
		return s.since22
	}
	return s.recorded
}

func TestTraces(t *testing.T) {
	scripts := readScripts(t)
	all := recordedTraces(t)
	require.Len(t, all, 168)
	byName := map[string]recorded{}
	for _, rec := range all {
		byName[rec.Name] = rec
	}
	require.Len(t, scripts, len(all))
	onNode := playOnNode(nil)
	if nodeVersion() > 0 {
		onNode = playOnNode(scripts)
	}
	var same, differ, inapplicable int
	for _, s := range scripts {
		switch {
		case s.nodeOnly != "":
			inapplicable++
		case s.evnet != nil:
			differ++
		default:
			same++
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // much of it is waiting
			rec, ok := byName[s.name]
			require.True(t, ok, "no such recorded trace")
			assert.Equal(t, byActor(rec.Trace), s.recorded, "the scenario's trace is not the recorded one")
			if rec.TraceSince22 != nil {
				assert.Equal(t, byActor(rec.TraceSince22), s.since22)
			}
			if rec.Platform == "linux" && !onLinux {
				t.Skip("recorded on Linux; the kernel decides")
			}
			if nodeVersion() > 0 {
				got, err := onNode(s.name)
				require.NoError(t, err)
				for actor, want := range s.nodeTrace(nodeVersion()) {
					assert.Equal(t, merged(want, nil), merged(got[actor], nil), "trace of %s on Node", actor)
				}
			}
			if s.nodeOnly != "" {
				return
			}
			want := s.expected()
			got := play(t, s)
			for actor := range want {
				seen := merged(got[actor], counterpart)
				for i, line := range want[actor] { // a * stands for what is not the same each time
					if i < len(seen) && strings.Contains(line, "*") {
						if ok, _ := path.Match(line, seen[i]); ok {
							seen[i] = line
						}
					}
				}
				assert.Equal(t, want[actor], seen, "trace of %s", actor)
			}
		})
	}
	t.Logf("%d traces as Node, %d with a deliberate difference, %d without a counterpart", same, differ, inapplicable)
	if nodeVersion() == 0 {
		t.Log("Node is not installed: compared with its recorded traces only")
	} else {
		t.Logf("each compared with Node %d, playing the same script now", nodeVersion())
	}
}
