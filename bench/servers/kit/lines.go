package kit

import "bytes"

// Lines splits the received data of one connection into lines. It is for libraries that pass on received
// bytes without a buffer in which to search for a line. It copies only lines that arrive in pieces.
type Lines struct {
	partial []byte // beginning of a line without its newline
}

// Next returns the first line of p, with its newline, and the rest of p. The line is valid until the next
// call. If p does not have a newline, Next keeps a copy of p for the next call and returns nil.
func (l *Lines) Next(p []byte) (line, rest []byte) {
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 {
		l.partial = append(l.partial, p...)
		return nil, nil
	}
	if len(l.partial) == 0 {
		return p[:end], p[end:]
	}
	line = append(l.partial, p[:end]...)
	l.partial = line[:0]
	return line, p[end:]
}

// SplitLines is a [bufio.SplitFunc] for lines. It keeps the newline, so that a line can be echoed
// unchanged. It drops a last line without a newline.
func SplitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, '\n') + 1; end > 0 {
		return end, data[:end], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}
