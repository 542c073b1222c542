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

// sorter is how requests are answered.
type sorter struct {
	pause   time.Duration // before each line of an answer
	longest int           // request, in bytes
}

func (s sorter) server(halfOpen bool) *evnet.Server {
	server := evnet.NewServer(&evnet.ServerOptions{
		AllowHalfOpen: halfOpen,
		IdleTimeout:   time.Minute + s.pause, // who never ends
	})
	server.On.Connection(s.receive)
	return server
}

// receive keeps the request until its end.
func (s sorter) receive(c *evnet.Socket) {
	var request bytes.Buffer
	say("connection, now", c.ReadyState())
	c.On.Data(func(chunk []byte) {
		say("data,", len(chunk), "bytes")
		if request.Len()+len(chunk) > s.longest {
			c.Destroy(fmt.Errorf("a request may have %d bytes", s.longest))
			return
		}
		request.Write(chunk)
	})
	c.On.End(func() {
		say("end, now", c.ReadyState())
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

// answer tells the number of lines at once and the lines one by one, then ends. Without AllowHalfOpen the socket
// ends by itself as soon as the End listeners have run, and the lines come too late.
func (s sorter) answer(c *evnet.Socket, lines []string) {
	_, _ = fmt.Fprintf(c, "sorted, %d lines:\n", len(lines))
	var timer *evnet.Timer
	timer = c.Loop().AfterFunc(s.pause, func() {
		if len(lines) == 0 {
			c.End()
			return
		}
		if _, err := fmt.Fprintln(c, lines[0]); err != nil {
			c.Destroy(err) // it reads nothing of a long answer
			return
		}
		lines = lines[1:]
		timer.Reset(s.pause)
	})
	c.On.Close(func(bool) {
		timer.Stop()
		if len(lines) > 0 {
			say(len(lines), "lines were never sent")
		}
	})
}

func say(what ...any) { printable.Println(append([]any{"server:"}, what...)...) }
