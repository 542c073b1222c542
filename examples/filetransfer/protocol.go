package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"evnet"
)

// The two sides speak in lines of JSON, but for the bytes of the file:
//
//	sender    {"filetransfer":1,"name":"big.iso","size":500000000,"sha256":"…"}   of the whole file
//	receiver  {"have":250609664,"sha256":"…"}                                     of what it has
//	sender    {"from":250609664}                                                  or 0, if that is no beginning of the file
//	sender    the bytes from there to the end
//	receiver  {"done":true,"sha256":"…"}                                          of what stands on its disk
//
// Instead of any of its lines the receiver may say {"error":"…"}, with "retry":true if that will pass, and
// before any of them, while its disk works, {"wait":true}.
const (
	version = 1
	maxLine = 4096
	step    = 1 << 20 // what is resumed is resumed at a multiple of this, or at the end
)

// header is how a sender begins.
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

// start is what a sender answers to an offer.
type start struct {
	From *int64 `json:"from"`
}

// say writes one line.
func say(c *evnet.Socket, message any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err) // of types that always can be
	}
	_, _ = c.Write(append(line, '\n')) // what cannot be written is told by the socket's events
}

// check is why a header cannot be taken.
func (h *header) check(l *limits) error {
	digest, err := hex.DecodeString(h.SHA256)
	switch {
	case h.Version != version:
		return fmt.Errorf("this is version %d of the protocol, not %d", version, h.Version)
	case h.Size < 0:
		return fmt.Errorf("a file of %d bytes", h.Size)
	case l.file > 0 && h.Size > int64(l.file):
		return fmt.Errorf("a file of %s; %v is the most that this receiver takes", bytes(h.Size), &l.file)
	case err != nil || len(digest) != 32:
		return fmt.Errorf("%.80q is no SHA-256", h.SHA256)
	}
	return checkName(h.Name)
}
