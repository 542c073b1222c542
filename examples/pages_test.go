package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A page is examples/NAME/README.md. The tests check it against the program. Its blocks are:
//
//	```sh       commands; each program and flag in them must exist
//	```console  a session that TestPagesPlayed runs. If other words follow, the program's own test runs it
//	```go       lines of the program's sources
//
// Each flag that the page names in backticks must exist, the page must name each flag of the program, and each file that
// it links to must exist.

// page is the README.md of one program.
type page struct {
	name   string // of the program
	file   string
	all    string
	text   string // outside blocks
	blocks []block
}

type block struct {
	kind    string // text after the opening backticks
	section string // the heading above it
	lines   []string
}

// pages returns the pages of all programs.
func pages(t *testing.T) []page {
	t.Helper()
	mains, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, mains)
	var all []page
	for _, main := range mains {
		p := page{name: filepath.Dir(main), file: filepath.Join(filepath.Dir(main), "README.md")}
		text, err := os.ReadFile(p.file)
		if !assert.NoError(t, err, "a program has no page") {
			continue
		}
		p.all = string(text)
		section, open := "", false
		for _, line := range strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n") {
			kind, fence := strings.CutPrefix(line, "```")
			switch {
			case fence && !open:
				p.blocks = append(p.blocks, block{kind: kind, section: section})
				open = true
			case fence:
				open = false
			case open:
				last := &p.blocks[len(p.blocks)-1]
				last.lines = append(last.lines, line)
			default:
				p.text += line + "\n"
				if strings.HasPrefix(line, "#") {
					section = line
				}
			}
		}
		assert.False(t, open, "%s: the last block is not closed", p.file)
		all = append(all, p)
	}
	return all
}

// console reports whether a block is a session, and whether its lines may have any order.
func (b block) console() (session, anyOrder bool) {
	return b.kind == "console" || b.kind == "console any order", b.kind == "console any order"
}

// commands returns the command lines of a page. Lines that end in a backslash are joined with the next.
func (p page) commands() (all []string) {
	for _, b := range p.blocks {
		session := strings.HasPrefix(b.kind, "console")
		if b.kind != "sh" && !session {
			continue
		}
		all = append(all, "cd "+root) // each block is a separate terminal
		command := ""
		for _, line := range b.lines {
			line, typed := strings.CutPrefix(line, "$ ")
			if session && !typed {
				continue
			}
			if before, ok := strings.CutSuffix(line, `\`); ok {
				command += before
				continue
			}
			all = append(all, command+line)
			command = ""
		}
	}
	return all
}

// root stands for the directory in which the commands of a page run.
const root = "the root of the repository"

// run is a program that a command starts, with its arguments.
type run struct {
	program string
	args    []string
}

var goRun = regexp.MustCompile(`\bgo run (-\S+ )*(\S+)([^|&;<>]*)`)

// runs returns the programs that the commands of a page start. The test fails if a program does not exist.
func (p page) runs(t *testing.T) (all []run) {
	t.Helper()
	dir := ".."
	for _, command := range p.commands() {
		command, _, _ = strings.Cut(command, " #") // a comment
		for step := range strings.SplitSeq(command, "&&") {
			if to, ok := strings.CutPrefix(strings.TrimSpace(step), "cd "); ok {
				if dir = filepath.Join(dir, to); to == root {
					dir = ".."
				}
				assert.DirExists(t, dir, "%s: %s", p.file, command)
			}
			for _, m := range goRun.FindAllStringSubmatch(step, -1) {
				here, err := os.Getwd()
				require.NoError(t, err)
				path, err := filepath.Rel(here, filepath.Join(here, dir, m[2]))
				require.NoError(t, err)
				if assert.FileExists(t, filepath.Join(path, "main.go"), "%s: %s", p.file, command) {
					all = append(all, run{path, strings.Fields(m[3])})
				}
			}
		}
	}
	return all
}

var helpFlag = regexp.MustCompile(`(?m)^  -([a-zA-Z0-9][a-zA-Z0-9-]*)`)

// flagsOf returns the flags that -h lists.
func flagsOf(t *testing.T, known map[string][]string, program string) []string {
	t.Helper()
	if flags, ok := known[program]; ok {
		return flags
	}
	if isFile(filepath.Join(program, "go.mod")) {
		require.NoError(t, buildTransfer(), program)
	}
	code, help, errs := result(t, program, "-h")
	assert.Zero(t, code, "%s -h", program)
	help += errs
	var flags []string
	for _, m := range helpFlag.FindAllStringSubmatch(help, -1) {
		flags = append(flags, m[1])
	}
	require.NotEmpty(t, flags, "%s -h lists no flags: %s", program, help)
	known[program] = append(flags, "h")
	return known[program]
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

var (
	argument  = regexp.MustCompile(`^--?([a-zA-Z][a-zA-Z0-9-]*)(=.*)?$`)
	named     = regexp.MustCompile("`-([a-z][a-z0-9-]*)( [^`]*)?`")
	link      = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	ownSchema = regexp.MustCompile(`^[a-z]+:`)
)

// Each program, flag, file and source line on a page exists, and each flag is on its page.
func TestPages(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands of the pages are for a Unix shell")
	}
	known := map[string][]string{}
	for _, p := range pages(t) {
		own := flagsOf(t, known, p.name)
		mentioned := slices.Clone(own)
		for _, r := range p.runs(t) {
			flags := flagsOf(t, known, r.program)
			mentioned = append(mentioned, flags...)
			for _, arg := range r.args {
				if m := argument.FindStringSubmatch(arg); m != nil {
					assert.Contains(t, flags, m[1], "%s: %s has no such flag", p.file, r.program)
				}
			}
		}
		for _, m := range named.FindAllStringSubmatch(p.text, -1) {
			assert.Contains(t, mentioned, m[1], "%s: no program on this page has the flag", p.file)
		}
		for _, flag := range own {
			documented := regexp.MustCompile("[ `]-" + flag + `\b`).MatchString(p.all)
			assert.True(t, documented || flag == "h", "%s does not document -%s", p.file, flag)
		}
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			if !ownSchema.MatchString(m[1]) {
				_, err := os.Stat(filepath.Join(p.name, m[1]))
				assert.NoError(t, err, "%s links to this file", p.file)
			}
		}
		p.quotes(t)
	}
}

// quotes checks that each line of a Go block is a line of the sources.
func (p page) quotes(t *testing.T) {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join(p.name, "*.go"))
	require.NoError(t, err)
	lines := map[string]bool{"": true, "…": true}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			lines[strings.TrimSpace(line)] = true
		}
	}
	for _, b := range p.blocks {
		if b.kind != "go" {
			continue
		}
		for _, line := range b.lines {
			assert.True(t, lines[strings.TrimSpace(line)], "%s: no source has the line %q", p.file, strings.TrimSpace(line))
		}
	}
}
