package kit

import "bytes"

// Lines cuts what one connection receives into lines, for libraries that hand over bytes and have
// no buffer of their own to look for a line in. Only a line that came in pieces is copied.
type Lines struct {
	begun []byte // of a line whose end has not come
}

// Next takes the first line off p, with its newline, and what is left of p. The line is valid until
// the next call. It is nil when p holds no end of a line; then p was kept for the next call.
func (l *Lines) Next(p []byte) (line, rest []byte) {
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 {
		l.begun = append(l.begun, p...)
		return nil, nil
	}
	if len(l.begun) == 0 {
		return p[:end], p[end:]
	}
	line = append(l.begun, p[:end]...)
	l.begun = line[:0]
	return line, p[end:]
}

// SplitLines is a [bufio.SplitFunc] for lines that keeps the newline, so that a line can be answered
// as it came. A line whose end never comes is no line.
func SplitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, '\n') + 1; end > 0 {
		return end, data[:end], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}
