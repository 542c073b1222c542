package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// timeline prints a line for each event: the seconds since the first event, the source, the name, and the arguments.
type timeline struct {
	out    io.Writer
	colour bool
	bytes  int    // maximum number to print of each chunk
	name   string // of accepted sockets, followed by their number
	start  time.Time
	names  map[*evnet.Socket]string
	count  int // of accepted sockets
}

// The escape sequences of the colours: green for a start, cyan for data, yellow for an end, red for an error.
const (
	plain  = "\x1b[0m"
	dim    = "\x1b[2m"
	green  = "\x1b[32m"
	cyan   = "\x1b[36m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
)

func newTimeline(out *os.File, colour string, bytes int) *timeline {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	return &timeline{
		out:    out,
		colour: colour == "always" || colour == "auto" && terminal,
		bytes:  bytes,
		name:   "accepted",
		names:  map[*evnet.Socket]string{},
	}
}

// print is the loop's tracer.
func (l *timeline) print(ev evnet.TraceEvent) {
	if l.start.IsZero() {
		l.start = ev.Time
	}
	source := "server"
	if s, ok := ev.Source.(*evnet.Socket); ok {
		if l.names[s] == "" {
			l.names[s] = "client"
		}
		if source = l.names[s]; ev.Name == evnet.EventClose {
			delete(l.names, s)
		}
	}
	details := printable.Text(l.details(ev)) // addresses and errors may contain bytes from a peer
	at := fmt.Sprintf("%10.6f", ev.Time.Sub(l.start).Seconds())
	if !l.colour {
		fmt.Fprintf(l.out, "%s  %-10s  %s\n", at, source, string(ev.Name)+prefixed(details))
		return
	}
	fmt.Fprintf(l.out, "%s%s  %-10s%s  %s%s%s%s\n", dim, at, source, plain, colourOf(ev), ev.Name, plain, prefixed(details))
}

// details returns the arguments of the event as text.
func (l *timeline) details(ev evnet.TraceEvent) string {
	switch ev.Name {
	case evnet.EventConnection:
		l.count++
		l.names[ev.Socket] = fmt.Sprint(l.name, " ", l.count)
		return fmt.Sprintf("%s from %v", l.names[ev.Socket], ev.Socket.RemoteAddr())
	case evnet.EventListening:
		return fmt.Sprintf("on %v", ev.Source.(*evnet.Server).Address())
	case evnet.EventLookup:
		if ev.Err != nil {
			return fmt.Sprintf("%s: %v", ev.Lookup.Host, ev.Err)
		}
		return fmt.Sprintf("%s is %s", ev.Lookup.Host, ev.Lookup.Address)
	case evnet.EventConnectionAttempt, evnet.EventConnectionAttemptTimeout:
		return ev.Attempt.Address
	case evnet.EventConnectionAttemptFailed:
		return fmt.Sprintf("%s: %v", ev.Attempt.Address, ev.Err)
	case evnet.EventConnect:
		return fmt.Sprintf("%v to %v", ev.Socket.LocalAddr(), ev.Socket.RemoteAddr())
	case evnet.EventData:
		return fmt.Sprintf("%d bytes %s", len(ev.Chunk), quotePrefix(ev.Chunk, l.bytes))
	case evnet.EventError:
		return fmt.Sprint(evnet.Code(ev.Err), " ", ev.Err)
	case evnet.EventClose:
		if ev.Socket == nil {
			return ""
		}
		return fmt.Sprintf("after %d bytes in, %d out; hadError %t", ev.BytesRead, ev.BytesWritten, ev.HadError)
	}
	return ""
}

// quotePrefix quotes the first limit bytes of a chunk: bytes from a peer must not reach the terminal unescaped.
func quotePrefix(p []byte, limit int) string {
	if len(p) > limit {
		return fmt.Sprintf("%q...", p[:limit])
	}
	return fmt.Sprintf("%q", p)
}

func colourOf(ev evnet.TraceEvent) string {
	switch {
	case ev.Err != nil || ev.HadError:
		return red
	case ev.Name == evnet.EventData || ev.Name == evnet.EventDrain:
		return cyan
	case ev.Name == evnet.EventEnd || ev.Name == evnet.EventFinish || ev.Name == evnet.EventClose || ev.Name == evnet.EventTimeout:
		return yellow
	}
	return green
}

// prefixed puts a space before a text that is not empty.
func prefixed(text string) string {
	if text == "" {
		return ""
	}
	return " " + text
}
