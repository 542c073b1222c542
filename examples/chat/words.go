package main

import (
	"bufio"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"evnet/examples/printable"
)

const longestName = 20 // characters

// fault is what is wrong with a name, or "".
func fault(name string) string {
	switch {
	case name == "":
		return "a name must not be empty"
	case !utf8.ValidString(name):
		return "a name must be valid UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "a name must not have control characters"
	case utf8.RuneCountInString(name) > longestName:
		return fmt.Sprintf("a name must not have more than %d characters", longestName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) && r != '-' && r != '_' }):
		return "a name must be of letters, digits, - and _"
	case printable.Text(name) != name: // some letters are invisible: the name would look like another
		return "a name must not have invisible characters"
	}
	return ""
}

// key is equal for names that are too much alike for one room.
func key(name string) string { return strings.ToLower(name) }

// lines is bufio.ScanLines, but that it refuses a line that is too long and skips the rest of it: nobody has
// to hold it.
func (m *member) lines(data []byte, atEOF bool) (int, []byte, error) {
	longest := m.room.line
	advance, line, err := bufio.ScanLines(data, atEOF)
	unfinished := advance == 0
	switch {
	case m.skipping: // until the line ends
	case len(line) > longest, unfinished && len(data) > longest+len("\r"):
		m.tell(fmt.Sprintf("* a line may have %d bytes: yours was longer", longest))
	default:
		return advance, line, err
	}
	if m.skipping = unfinished; unfinished {
		advance = len(data)
	}
	return advance, nil, err
}
