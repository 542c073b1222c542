package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"evnet"
)

// The two sides exchange lines of JSON, except the bytes of the file:
//
//	sender    {"filetransfer":1,"name":"big.iso","size":500000000,"sha256":"…"}   of the whole file
//	receiver  {"have":250609664,"sha256":"…"}                                     of the received part
//	sender    {"from":250609664}                                                  or 0, if that hash does not match
//	sender    the bytes from there to the end
//	receiver  {"done":true,"sha256":"…"}                                          of the file on its disk
//
// In place of any of its lines the receiver may send {"error":"…"}, with "retry":true if the error is temporary. While it works on
// its disk, it sends {"wait":true} before the next line.
const (
	version = 1
	maxLine = 4096
	step    = 1 << 20 // a transfer resumes at a multiple of this, or at the end
)

// header is the first line of a sender.
type header struct {
	Version int    `json:"filetransfer"`
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// reply is any line of a receiver.
type reply struct {
	Have   int64  `json:"have,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Wait   bool   `json:"wait,omitempty"`
	Error  string `json:"error,omitempty"`
	Retry  bool   `json:"retry,omitempty"`
}

// start is the reply of a sender to an offer.
type start struct {
	From *int64 `json:"from"`
}

// writeLine sends one line.
func writeLine(c *evnet.Socket, message any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err) // cannot happen: all message types can be encoded
	}
	_, _ = c.Write(append(line, '\n')) // the socket reports a failure with its events
}

// check returns an error if the header is invalid or exceeds a limit.
func (h *header) check(l *limits) error {
	digest, err := hex.DecodeString(h.SHA256)
	switch {
	case h.Version != version:
		return fmt.Errorf("unsupported protocol version %d: want %d", h.Version, version)
	case h.Size < 0:
		return fmt.Errorf("invalid file size %d", h.Size)
	case l.file > 0 && h.Size > int64(l.file):
		return fmt.Errorf("a file of %s exceeds the limit of %v", bytes(h.Size), &l.file)
	case err != nil || len(digest) != 32:
		return fmt.Errorf("invalid SHA-256 %.80q", h.SHA256)
	}
	return checkName(h.Name)
}
