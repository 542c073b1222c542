// Package printable makes text from outside safe to show on a terminal or to keep in a log.
//
// A terminal obeys some bytes: ESC sequences move the cursor, clear the screen, set its title. A carriage return overwrites
// the line, a bidirectional control shows the text in another order than it has, and a newline makes one record look like
// two. Peers, file names, certificates, environment variables, addresses and the errors that quote them may hold any of
// these. The functions of this package leave ordinary text of any script as it is, and write everything else as the escape
// that a Go string literal has for it.
//
// The example programs print through this package.
package printable

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with everything escaped that is not ordinary text. The result is a single line.
//
// Letters, marks, digits, punctuation, symbols and spaces of any script are kept, and so are the two joiners that emoji and
// some scripts need. Escaped are the control characters, U+0080 to U+009F among them; the bidirectional controls and all
// other invisible characters; the line and paragraph separators; and bytes that are not UTF-8.
func Text(s string) string { return escape(s, false) }

// Lines is Text for text of several lines: line ends, "\n" and "\r\n", are kept. Any other "\r" is escaped.
func Lines(s string) string { return escape(s, true) }

// Println is fmt.Println, with the line made safe by Text.
func Println(args ...any) { _, _ = io.WriteString(os.Stdout, record(fmt.Sprintln(args...))) }

// Printf is fmt.Printf for one line, made safe by Text. A newline at the end of the line is kept.
func Printf(format string, args ...any) {
	_, _ = io.WriteString(os.Stdout, record(fmt.Sprintf(format, args...)))
}

// Records returns a writer for log.SetOutput. It makes each Write safe by Text, except for the newline at its end, and
// passes it on to w. A Logger writes each of its records by one Write, so that no record can look like two.
func Records(w io.Writer) io.Writer { return records{w} }

type records struct{ to io.Writer }

func (r records) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.to, record(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// record escapes all newlines but the last.
func record(s string) string {
	line, ended := strings.CutSuffix(s, "\n")
	line = Text(line)
	if ended {
		line += "\n"
	}
	return line
}

func escape(s string, lines bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !plain(r) }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		part := s[i : i+size]
		i += size
		switch {
		case r == utf8.RuneError && size == 1: // not UTF-8
			fmt.Fprintf(&b, `\x%02x`, part[0])
		case plain(r), lines && r == '\n', lines && r == '\r' && strings.HasPrefix(s[i:], "\n"):
			b.WriteString(part)
		case strconv.IsPrint(r): // a letter that is invisible: Quote would not escape it
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// plain reports whether r is ordinary text.
func plain(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) ||
		r == zeroWidthNonJoiner || r == zeroWidthJoiner
}
