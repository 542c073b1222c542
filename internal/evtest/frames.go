package evtest

import (
	"encoding/binary"
	"strings"
)

// Frames is a split function for messages with a length prefix of four bytes.
func Frames(data []byte, _ bool) (int, []byte, error) {
	if len(data) < 4 {
		return 0, nil, nil
	}
	n := 4 + int(binary.BigEndian.Uint32(data))
	if len(data) < n {
		return 0, nil, nil
	}
	return n, data[4:n], nil
}

func Frame(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

// Bytewise returns text in chunks of one byte.
func Bytewise(text string) []string { return strings.Split(text, "") }
