package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// sorter answers requests.
type sorter struct {
	pause      time.Duration // before each line of an answer
	maxRequest int           // in bytes
}

func (s sorter) server(halfOpen bool) *evnet.Server {
	server := evnet.NewServer(&evnet.ServerOptions{
		AllowHalfOpen: halfOpen,
		IdleTimeout:   time.Minute + s.pause, // a client that never ends its side
	})
	server.On.Connection(s.receive)
	return server
}

// receive buffers the request until the client ends its side.
func (s sorter) receive(c *evnet.Socket) {
	var request bytes.Buffer
	say("connection, readyState", c.ReadyState())
	c.On.Data(func(chunk []byte) {
		say("data,", len(chunk), "bytes")
		if request.Len()+len(chunk) > s.maxRequest {
			c.Destroy(fmt.Errorf("read request: longer than %d bytes", s.maxRequest))
			return
		}
		request.Write(chunk)
	})
	c.On.End(func() {
		say("end, readyState", c.ReadyState())
		var lines []string
		for line := range strings.Lines(request.String()) {
			lines = append(lines, strings.TrimRight(line, "\r\n"))
		}
		slices.Sort(lines)
		s.answer(c, lines)
	})
	c.On.Finish(func() { say("finish") })
	c.On.Error(func(err error) { say("error:", err) })
	c.On.Close(func(bool) { say("close") })
}

// answer writes the number of lines immediately, then one line after each pause, and then ends. Without
// AllowHalfOpen the socket ends its side when the End listeners have run, before the first of these lines.
func (s sorter) answer(c *evnet.Socket, lines []string) {
	_, _ = fmt.Fprintf(c, "sorted, %d lines:\n", len(lines))
	var timer *evnet.Timer
	timer = c.Loop().AfterFunc(s.pause, func() {
		if len(lines) == 0 {
			c.End()
			return
		}
		if _, err := fmt.Fprintln(c, lines[0]); err != nil {
			c.Destroy(err) // the client does not read a long answer
			return
		}
		lines = lines[1:]
		timer.Reset(s.pause)
	})
	c.On.Close(func(bool) {
		timer.Stop()
		if len(lines) > 0 {
			say(len(lines), "lines not sent")
		}
	})
}

func say(what ...any) { printable.Println(append([]any{"server:"}, what...)...) }
