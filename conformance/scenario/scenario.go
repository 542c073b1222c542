package scenario

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Timed reports whether a script has timeouts, whose time its waits depend on.
func (s *Script) Timed() bool { return Timed(s.Steps) }

func Timed(block []*Statement) bool {
	return slices.ContainsFunc(block, func(st *Statement) bool {
		return strings.Contains(strings.ToLower(strings.Join(st.Words, " ")), "timeout") || Timed(st.Block)
	})
}

// Script is one scenario: its statements and its expected traces.
type Script struct {
	Name  string
	Steps []*Statement

	Recorded TraceLines // Node's trace
	Since22  TraceLines // Node's trace from version 22 on, if it differs
	Evnet    TraceLines // evnet's traces of the actors that differ
	Because  string     // why evnet differs
	Differs  string     // the title of the difference in the package documentation
	NodeOnly string     // why evnet has no counterpart
}

// TraceLines are the lines of a trace by actor.
type TraceLines map[string][]string

// Statement is one line of a script, with the lines indented below it.
type Statement struct {
	Words []string
	Text  string // the text after the second word
	Block []*Statement
	Line  int
}

var (
	WordForm = regexp.MustCompile(`\w+:"(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*"|\S+`)
	SizeForm = regexp.MustCompile(`^(\d+)([KM]?)$`)
)

func ParseSteps(text string) []*Statement {
	var root Statement
	open := []*Statement{&root}
	for i, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		depth := (len(raw) - len(strings.TrimLeft(raw, " "))) / 2
		st := &Statement{Words: WordForm.FindAllString(line, -1), Line: i + 1}
		if parts := strings.SplitN(line, " ", 3); len(parts) == 3 {
			st.Text = parts[2]
		}
		open = append(open[:depth+1], st)
		open[depth].Block = append(open[depth].Block, st)
	}
	return root.Block
}

// ParseData parses "text", bytes:"text", hex:616263, or a number of bytes such as 100, 64K or 8M.
func ParseData(text string) []byte {
	text = strings.TrimPrefix(text, "bytes:")
	if strings.HasPrefix(text, `"`) {
		var s string
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			panic(err)
		}
		return []byte(s)
	}
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		p, err := hex.DecodeString(digits)
		if err != nil {
			panic(err)
		}
		return p
	}
	m := SizeForm.FindStringSubmatch(text)
	n, _ := strconv.Atoi(m[1])
	return []byte(strings.Repeat("x", n*map[string]int{"": 1, "K": 1 << 10, "M": 1 << 20}[m[2]]))
}

// ParseOptions parses name=value, and a name alone as "true".
func ParseOptions(words []string) map[string]string {
	options := map[string]string{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			value = "true"
		}
		options[name] = value
	}
	return options
}

// ParseLines parses lines of the form "actor: what".
func ParseLines(text string) TraceLines {
	all := TraceLines{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if actor, what, ok := strings.Cut(line, ":"); ok {
			all[actor] = append(all[actor], strings.TrimPrefix(what, " "))
		}
	}
	return all
}

// ReadScripts reads every scenario of a directory, in the order of their names.
func ReadScripts(t testing.TB, dir string) []*Script {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	require.NoError(t, err)
	var all []*Script
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		parts := strings.Split("script --\n"+string(text), "\n-- ")
		s := &Script{Name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		for _, part := range parts {
			title, body, _ := strings.Cut(part, " --\n")
			switch title {
			case "script":
				s.Steps = ParseSteps(body)
			case "trace":
				s.Recorded = ParseLines(body)
			case "trace since 22":
				s.Since22 = ParseLines(body)
			case "evnet":
				s.readEvnet(body)
			case "node only":
				s.NodeOnly = strings.Join(strings.Fields(body), " ")
			default:
				require.Fail(t, "unknown section", "%s: %q", file, title)
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Script) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *Script) readEvnet(body string) {
	var rest []string
	for _, line := range strings.Split(body, "\n") {
		if why, ok := strings.CutPrefix(line, "because: "); ok {
			s.Because = why
		} else if line, ok := strings.CutPrefix(line, "difference: "); ok {
			s.Differs = line
		} else {
			rest = append(rest, line)
		}
	}
	s.Evnet = ParseLines(strings.Join(rest, "\n"))
}

// NoCounterpart matches the lines that evnet has no counterpart for in any scenario: events of Node's streams, phases
// of its loop, callbacks of end, and methods that return the emitter.
var NoCounterpart = regexp.MustCompile(`^(pause|resume|pipe|unpipe|readable|end cb.*|setImmediate.*|setTimeout returned.*|.*returned self=true)$`)

var DataLine = regexp.MustCompile(`^data (\d+)$`)

// Merge joins adjacent data lines, because the split of a stream into chunks is not defined.
func Merge(in []string, skip *regexp.Regexp) []string {
	var out []string
	sum := -1
	for _, line := range append(slices.Clone(in), "") {
		if skip != nil && skip.MatchString(line) {
			continue
		}
		if m := DataLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			sum = max(sum, 0) + n
			continue
		}
		if sum >= 0 {
			out, sum = append(out, fmt.Sprintf("data %d", sum)), -1
		}
		out = append(out, line)
	}
	return out[:len(out)-1]
}

// Expected returns the expected traces on evnet: Node's traces, with the documented differences.
func (s *Script) Expected() TraceLines {
	want := TraceLines{}
	for actor, all := range s.NodeTrace(22) {
		want[actor] = Merge(all, NoCounterpart)
	}
	for actor, all := range s.Evnet {
		want[actor] = Merge(all, nil)
	}
	return want
}

// NodeTrace returns the recorded traces of a version of Node.
func (s *Script) NodeTrace(version int) TraceLines {
	if version >= 22 && s.Since22 != nil {
		return s.Since22
	}
	return s.Recorded
}
