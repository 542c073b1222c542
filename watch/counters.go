package watch

import (
	"encoding/json"
	"sync"

	"evnet"
)

// Counters counts the events of the loops that have its Trace as Tracer. The zero value is ready to use; a Counters must
// not be copied. Any goroutine may call the methods. It is an expvar.Var:
//
//	counters := &watch.Counters{}
//	loop.SetTracer(counters.Trace)
//	expvar.Publish("evnet", counters)
type Counters struct {
	mu    sync.Mutex
	total Counts
	open  map[*evnet.Socket]bool
}

// Counts are the values of a Counters at one time.
type Counts struct {
	Open         int              `json:"open"`         // sockets that had an event, but not their Close yet
	BytesRead    int64            `json:"bytesRead"`    // by all sockets that had an event, also by OnRead, Scan and Pipe
	BytesWritten int64            `json:"bytesWritten"` // to these sockets, sent or not
	Buffered     int64            `json:"buffered"`     // by the loops of open sockets, as evnet.Loop.Buffered counts
	Events       map[string]int64 `json:"events"`       // by name, with the prefixes of Slog
	Errors       map[string]int64 `json:"errors"`       // of Error and TLSClientError, by evnet.Code; "" for errors without a code
	Drops        map[string]int64 `json:"drops"`        // connections dropped by servers, by evnet.DropReason
}

// Trace counts one event. The method value is an evnet.Tracer.
func (c *Counters) Trace(ev evnet.TraceEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[*evnet.Socket]bool{}
		c.total.Events, c.total.Errors, c.total.Drops = map[string]int64{}, map[string]int64{}, map[string]int64{}
	}
	c.total.Events[label(ev)]++
	if ev.Name == evnet.EventError || ev.Name == evnet.EventTLSClientError {
		c.total.Errors[evnet.Code(ev.Err)]++
	}
	if ev.Name == evnet.EventDrop {
		c.total.Drops[ev.Drop.Reason.String()]++
	}
	s, isSocket := ev.Source.(*evnet.Socket)
	switch {
	case isSocket && ev.Name == evnet.EventClose:
		delete(c.open, s)
		c.total.BytesRead += ev.BytesRead
		c.total.BytesWritten += ev.BytesWritten
	case ev.Socket != nil && (ev.Socket.Connecting() || !ev.Socket.Pending()): // otherwise Close may never be emitted
		c.open[ev.Socket] = true
	}
}

// Counts returns the current values, which the caller owns. It reads the bytes that open sockets have read and written
// from each socket.
func (c *Counters) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.total
	now.Open = len(c.open)
	loops := map[*evnet.Loop]bool{}
	for s := range c.open {
		if l := s.Loop(); !loops[l] {
			loops[l] = true
			now.Buffered += l.Buffered()
		}
		now.BytesRead += s.BytesRead()
		now.BytesWritten += s.BytesWritten()
	}
	now.Events, now.Errors, now.Drops = copied(now.Events), copied(now.Errors), copied(now.Drops)
	return now
}

// copied returns a copy of m.
func copied(m map[string]int64) map[string]int64 {
	own := make(map[string]int64, len(m)) // not nil, which would be null in JSON
	for k, v := range m {
		own[k] = v
	}
	return own
}

// String returns the current values as a JSON object. It makes Counters an expvar.Var.
func (c *Counters) String() string {
	text, _ := json.Marshal(c.Counts()) // numbers and strings are always JSON
	return string(text)
}
