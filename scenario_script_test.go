package evnet_test

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

// The script form of testdata/scenarios, which its README describes.

// script is one scenario: what is done, and what is to be seen.
type script struct {
	name  string
	steps []*statement

	recorded traceLines // Node's trace
	since22  traceLines // Node's trace from version 22 on, where it is another
	evnet    traceLines // of the actors where evnet differs
	because  string     // why it differs
	differs  string     // the line of the package documentation that says so
	nodeOnly string     // why evnet has no counterpart
}

// traceLines are what each actor has noted.
type traceLines map[string][]string

// statement is one line of a script, with the lines indented below it.
type statement struct {
	words []string
	text  string // behind the second word
	block []*statement
	line  int
}

var (
	wordForm = regexp.MustCompile(`\w+:"(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*"|\S+`)
	sizeForm = regexp.MustCompile(`^(\d+)([KM]?)$`)
)

func parseSteps(text string) []*statement {
	var root statement
	open := []*statement{&root}
	for i, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		depth := (len(raw) - len(strings.TrimLeft(raw, " "))) / 2
		st := &statement{words: wordForm.FindAllString(line, -1), line: i + 1}
		if parts := strings.SplitN(line, " ", 3); len(parts) == 3 {
			st.text = parts[2]
		}
		open = append(open[:depth+1], st)
		open[depth].block = append(open[depth].block, st)
	}
	return root.block
}

// parseData reads "text", bytes:"text", hex:616263, or a size such as 100, 64K or 8M: so many bytes.
func parseData(text string) []byte {
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
	m := sizeForm.FindStringSubmatch(text)
	n, _ := strconv.Atoi(m[1])
	return []byte(strings.Repeat("x", n*map[string]int{"": 1, "K": 1 << 10, "M": 1 << 20}[m[2]]))
}

// parseOptions reads name=value, and a name alone as "true".
func parseOptions(words []string) map[string]string {
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

// parseLines reads lines of the form "actor: what".
func parseLines(text string) traceLines {
	all := traceLines{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if actor, what, ok := strings.Cut(line, ":"); ok {
			all[actor] = append(all[actor], strings.TrimPrefix(what, " "))
		}
	}
	return all
}

// readScripts reads every scenario, in the order of their names.
func readScripts(t testing.TB) []*script {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	require.NoError(t, err)
	var all []*script
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		parts := strings.Split("script --\n"+string(text), "\n-- ")
		s := &script{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		for _, part := range parts {
			title, body, _ := strings.Cut(part, " --\n")
			switch title {
			case "script":
				s.steps = parseSteps(body)
			case "trace":
				s.recorded = parseLines(body)
			case "trace since 22":
				s.since22 = parseLines(body)
			case "evnet":
				s.readEvnet(body)
			case "node only":
				s.nodeOnly = strings.Join(strings.Fields(body), " ")
			default:
				require.Fail(t, "unknown section", "%s: %q", file, title)
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *script) int { return strings.Compare(a.name, b.name) })
	return all
}

func (s *script) readEvnet(body string) {
	var rest []string
	for _, line := range strings.Split(body, "\n") {
		if why, ok := strings.CutPrefix(line, "because: "); ok {
			s.because = why
		} else if line, ok := strings.CutPrefix(line, "difference: "); ok {
			s.differs = line
		} else {
			rest = append(rest, line)
		}
	}
	s.evnet = parseLines(strings.Join(rest, "\n"))
}

// counterpart leaves out the lines that evnet has no counterpart for, whatever the scenario: events
// of Node's streams, phases of its loop, callbacks of end, and methods that return the emitter.
var counterpart = regexp.MustCompile(`^(pause|resume|pipe|unpipe|readable|end cb.*|setImmediate.*|setTimeout returned.*|.*returned self=true)$`)

var dataLine = regexp.MustCompile(`^data (\d+)$`)

// merged joins adjacent data: how a stream is cut into chunks is not to be relied on.
func merged(in []string, skip *regexp.Regexp) []string {
	var out []string
	sum := -1
	for _, line := range append(slices.Clone(in), "") {
		if skip != nil && skip.MatchString(line) {
			continue
		}
		if m := dataLine.FindStringSubmatch(line); m != nil {
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
