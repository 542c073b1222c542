package conformance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet/conformance/scenario"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded traces of Node, testdata/traces.json, as scenarios. Each script is played on evnet, and on Node if it is
// installed. The test compares the three traces.

// recorded is one entry of testdata/traces.json.
type recorded struct {
	Name         string
	Platform     string
	Trace        json.RawMessage
	TraceSince22 json.RawMessage
}

func byActor(trace json.RawMessage) scenario.TraceLines {
	all := scenario.TraceLines{}
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

// nodeVersion returns the version of the installed Node, 0 if there is none.
var nodeVersion = sync.OnceValue(func() int {
	out, err := exec.Command("node", "-p", "process.versions.node").Output()
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(string(out), ".")
	n, _ := strconv.Atoi(major)
	return n
})

// nodePlay is a Node process that plays scenarios. A test waits for the trace of each by name.
type nodePlay struct{ results map[string]chan nodeResult }

type nodeResult struct {
	Name  string
	Lines scenario.TraceLines
	Error string
}

func playOnNode(t *testing.T, scripts []*scenario.Script) *nodePlay {
	p := &nodePlay{results: map[string]chan nodeResult{}}
	args := []string{"testdata/node/play.js"}
	for _, s := range scripts {
		p.results[s.Name] = make(chan nodeResult, 1)
		args = append(args, "testdata/scenarios/"+s.Name+".txt")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*evtest.Patience) // for all of them
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Env = append(os.Environ(), fmt.Sprint("SCALE=", int(ms/time.Millisecond)))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for dec := json.NewDecoder(out); ; {
			var r nodeResult
			if dec.Decode(&r) != nil {
				break
			}
			p.results[r.Name] <- r
		}
		err := cmd.Wait()
		for _, r := range p.results { // tests are waiting for these
			select {
			case r <- nodeResult{Error: fmt.Sprint("node ended: ", err)}:
			default:
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// matchStars replaces a line seen by the wanted line if they match. A * in the wanted line matches text that varies.
func matchStars(want, seen []string) {
	for i, line := range want {
		if i < len(seen) && strings.Contains(line, "*") {
			if ok, _ := path.Match(line, seen[i]); ok {
				seen[i] = line
			}
		}
	}
}

// compare plays a script and compares the traces of its actors with the wanted ones. form brings a trace to the form of the
// wanted trace first. A script with timeouts is played at its own speed first, and slowly if the traces differ, because on a
// busy machine a wait and a timeout may change places. The long form always plays slowly.
func compare(t *testing.T, s *scenario.Script, over *medium, want scenario.TraceLines, form func(seen []string) []string) {
	played := func(stretch int) scenario.TraceLines {
		got, all := over.play(t, s, stretch), scenario.TraceLines{}
		for actor := range want {
			all[actor] = form(scenario.Merge(got[actor], scenario.NoCounterpart))
			matchStars(want[actor], all[actor])
		}
		return all
	}
	if s.Timed() && !evtest.Long() {
		if maps.EqualFunc(want, played(1), slices.Equal) {
			return
		}
		t.Log("played again, slowly")
	}
	seen := played(relaxed)
	for actor := range want {
		assert.Equal(t, want[actor], seen[actor], "trace of %s", actor)
	}
}

func TestTraces(t *testing.T) {
	scripts := scenario.ReadScripts(t, "testdata/scenarios")
	all := recordedTraces(t)
	require.Len(t, all, 168)
	byName := map[string]recorded{}
	for _, rec := range all {
		byName[rec.Name] = rec
	}
	require.Len(t, scripts, len(all))
	var onNode *nodePlay
	switch {
	case !evtest.Long():
		t.Log("compared with the recorded traces; -long also compares with Node")
	case nodeVersion() >= 20: // older versions lack events
		onNode = playOnNode(t, scripts)
		t.Logf("each is compared with Node %d, playing the same script now", nodeVersion())
	case os.Getenv("EVNET_CI") != "":
		t.Fatal("Node 20 or newer is not installed")
	default:
		t.Log("Node 20 or newer is not installed: compared with its recorded traces only")
	}
	var same, differ, inapplicable int
	for _, s := range scripts {
		switch {
		case s.NodeOnly != "":
			inapplicable++
		case s.Evnet != nil:
			differ++
		default:
			same++
		}
	}
	inTwoRounds(t, scripts, func(t *testing.T, scripts []*scenario.Script) {
		for _, s := range scripts {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel() // scenarios mostly wait
				rec, ok := byName[s.Name]
				require.True(t, ok, "no such recorded trace")
				assert.Equal(t, byActor(rec.Trace), s.Recorded, "the scenario's trace is not the recorded one")
				if rec.TraceSince22 != nil {
					assert.Equal(t, byActor(rec.TraceSince22), s.Since22)
				}
				if rec.Platform == "linux" && !evtest.OnLinux {
					t.Skip("recorded on Linux; the result depends on the kernel")
				}
				if onNode != nil {
					got := <-onNode.results[s.Name]
					require.Empty(t, got.Error)
					for actor, want := range s.NodeTrace(nodeVersion()) {
						assert.Equal(t, scenario.Merge(want, nil), scenario.Merge(got.Lines[actor], nil), "trace of %s on Node", actor)
					}
				}
				if s.NodeOnly != "" {
					return
				}
				want := s.Expected()
				if s.Evnet != nil {
					require.NotEmpty(t, s.Because)
					same := true
					for actor, lines := range s.NodeTrace(22) {
						same = same && slices.Equal(want[actor], scenario.Merge(lines, scenario.NoCounterpart))
					}
					require.False(t, same, "marked as a difference, but the traces are equal: %s", s.Because)
				}
				compare(t, s, nil, want, func(seen []string) []string { return seen })
			})
		}
	})
	t.Logf("%d traces as Node, %d with a deliberate difference, %d without a counterpart", same, differ, inapplicable)
	for name, claim := range map[string]string{
		"README.md":       "%d come out line for line,\n%d differ on purpose (each says why, and the package documentation lists the differences), and %d have no counterpart",
		"README.pt-BR.md": "%d saem linha por linha,\n%d diferem de propósito (cada uma diz por quê, e a documentação do pacote lista as diferenças) e %d não têm equivalente",
	} {
		text, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		assert.Contains(t, string(text), fmt.Sprintf(claim, same, differ, inapplicable))
	}
}
