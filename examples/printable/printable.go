// Package printable makes external text safe for a terminal and for a log.
//
// Some characters control a terminal. ESC sequences move the cursor, clear the screen or set the title. A carriage return
// overwrites the line. A bidirectional control changes the displayed order of the text. A newline makes one log record look
// like two. Data from peers, file names, certificates, environment variables, addresses, and errors that quote them may
// contain any of these. The functions of this package keep ordinary text of any script unchanged, and replace every other
// character with its escape sequence in a Go string literal.
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

// Text returns s as a single line, with everything escaped except ordinary text.
//
// Text keeps letters, marks, digits, punctuation, symbols and spaces of any script, and the two joiners that emoji and some
// scripts need. It escapes control characters, including U+0080 to U+009F; bidirectional controls and all other invisible
// characters; line and paragraph separators; and bytes that are not UTF-8.
func Text(s string) string { return escape(s, false) }

// Lines is Text for several lines: it keeps the line ends "\n" and "\r\n". It escapes any other "\r".
func Lines(s string) string { return escape(s, true) }

// Println is fmt.Println with the line escaped by Text.
func Println(args ...any) { _, _ = io.WriteString(os.Stdout, record(fmt.Sprintln(args...))) }

// Printf is fmt.Printf for one line, escaped by Text. It keeps a newline at the end.
func Printf(format string, args ...any) {
	_, _ = io.WriteString(os.Stdout, record(fmt.Sprintf(format, args...)))
}

// Records returns a writer for log.SetOutput. It escapes each Write with Text, except a newline at the end, and writes the result
// to w. A Logger calls Write once per record, so no record can look like two.
func Records(w io.Writer) io.Writer { return records{w} }

type records struct{ w io.Writer }

func (r records) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.w, record(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// record escapes a log record and keeps a newline at the end.
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
		case strconv.IsPrint(r): // an invisible letter, which QuoteRune would not escape
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
