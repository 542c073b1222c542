package main

import (
	"bufio"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"evnet/examples/printable"
)

const maxName = 20 // characters

// checkName returns why a name is invalid, or "" if it is valid.
func checkName(name string) string {
	switch {
	case name == "":
		return "a name must not be empty"
	case !utf8.ValidString(name):
		return "a name must be valid UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "a name must not contain control characters"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("a name must not have more than %d characters", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) && r != '-' && r != '_' }):
		return "a name must consist of letters, digits, - and _"
	case printable.Text(name) != name: // some letters are invisible: the name would look like another
		return "a name must not contain invisible characters"
	}
	return ""
}

// key returns the map key of a name. Names that differ only in case have the same key.
func key(name string) string { return strings.ToLower(name) }

// splitLine is bufio.ScanLines with a limit: it refuses a line that is too long and discards the rest of it, without
// buffering it.
func (m *member) splitLine(data []byte, atEOF bool) (int, []byte, error) {
	limit := m.room.maxLine
	advance, line, err := bufio.ScanLines(data, atEOF)
	unfinished := advance == 0
	switch {
	case m.skipping: // until the line ends
	case len(line) > limit, unfinished && len(data) > limit+len("\r"):
		m.send(fmt.Sprintf("* line too long: the limit is %d bytes", limit))
	default:
		return advance, line, err
	}
	if m.skipping = unfinished; unfinished {
		advance = len(data)
	}
	return advance, nil, err
}
