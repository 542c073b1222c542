package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// timeLine prints a line for each event: how long after the first one, whose it is, its name, and what it carries.
type timeLine struct {
	out    io.Writer
	colour bool
	bytes  int    // of each chunk, at most
	name   string // of the sockets that the server accepts, before their numbers
	began  time.Time
	given  map[*evnet.Socket]string
	count  int
}

// The colours of a terminal: what was begun, what flows, what ends, what went wrong.
const (
	plain  = "\x1b[0m"
	dim    = "\x1b[2m"
	green  = "\x1b[32m"
	cyan   = "\x1b[36m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
)

func newTimeLine(out *os.File, colour string, bytes int) *timeLine {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	return &timeLine{
		out:    out,
		colour: colour == "always" || colour == "auto" && terminal,
		bytes:  bytes,
		name:   "accepted",
		given:  map[*evnet.Socket]string{},
	}
}

// show is the loop's Tracer.
func (l *timeLine) show(ev evnet.TraceEvent) {
	if l.began.IsZero() {
		l.began = ev.Time
	}
	whose := "server"
	if s, ok := ev.Source.(*evnet.Socket); ok {
		if l.given[s] == "" {
			l.given[s] = "client"
		}
		if whose = l.given[s]; ev.Name == evnet.EventClose {
			delete(l.given, s)
		}
	}
	what := printable.Text(l.details(ev)) // addresses and errors hold bytes of peers
	at := fmt.Sprintf("%10.6f", ev.Time.Sub(l.began).Seconds())
	if !l.colour {
		fmt.Fprintf(l.out, "%s  %-10s  %s\n", at, whose, join(string(ev.Name), what))
		return
	}
	fmt.Fprintf(l.out, "%s%s  %-10s%s  %s%s%s%s\n", dim, at, whose, plain, colourOf(ev), ev.Name, plain, prefixed(what))
}

// details is what the event carries, in words.
func (l *timeLine) details(ev evnet.TraceEvent) string {
	switch ev.Name {
	case evnet.EventConnection:
		l.count++
		l.given[ev.Socket] = fmt.Sprint(l.name, " ", l.count)
		return fmt.Sprintf("%s from %v", l.given[ev.Socket], ev.Socket.RemoteAddr())
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
		return fmt.Sprintf("%d bytes %s", len(ev.Chunk), beginning(ev.Chunk, l.bytes))
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

// beginning is the first bytes of a chunk, quoted: what a peer sends must not reach the terminal as it is.
func beginning(p []byte, most int) string {
	if len(p) > most {
		return fmt.Sprintf("%q...", p[:most])
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

func join(name, what string) string { return name + prefixed(what) }

func prefixed(what string) string {
	if what == "" {
		return ""
	}
	return " " + what
}
