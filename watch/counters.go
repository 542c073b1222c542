package watch

import (
	"encoding/json"
	"sync"

	"evnet"
)

// Counters counts what happens on the loops that its Trace is set on. The zero value is ready; it must not be copied.
// Every method may be called from any goroutine. It is an expvar.Var:
//
//	counters := &watch.Counters{}
//	loop.SetTracer(counters.Trace)
//	expvar.Publish("evnet", counters)
type Counters struct {
	mu    sync.Mutex
	total Counts
	open  map[*evnet.Socket]bool
}

// Counts are the figures at one time.
type Counts struct {
	Open         int              `json:"open"`         // sockets that have had an event, and not their Close yet
	BytesRead    int64            `json:"bytesRead"`    // by all sockets that had an event, also by OnRead, Scan and Pipe
	BytesWritten int64            `json:"bytesWritten"` // to them, sent or not
	Buffered     int64            `json:"buffered"`     // by the loops of open sockets, as evnet.Loop.Buffered counts
	Events       map[string]int64 `json:"events"`       // by their names, with a prefix as those of Slog
	Errors       map[string]int64 `json:"errors"`       // of Error and TLSClientError, by evnet.Code; "" has none
	Drops        map[string]int64 `json:"drops"`        // connections dropped by servers, by evnet.DropReason
}

// Trace counts one event. It is a Tracer.
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
	s, of := ev.Source.(*evnet.Socket)
	switch {
	case of && ev.Name == evnet.EventClose:
		delete(c.open, s)
		c.total.BytesRead += ev.BytesRead
		c.total.BytesWritten += ev.BytesWritten
	case ev.Socket != nil && (ev.Socket.Connecting() || !ev.Socket.Pending()): // else Close may never come
		c.open[ev.Socket] = true
	}
}

// Counts returns the figures as they are now, which are the caller's. What open sockets have read and written is asked
// of each of them.
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

func copied(m map[string]int64) map[string]int64 {
	own := make(map[string]int64, len(m)) // not nil, which would be null in JSON
	for k, v := range m {
		own[k] = v
	}
	return own
}

// String is the figures as a JSON object, by what makes a Counters an expvar.Var.
func (c *Counters) String() string {
	text, _ := json.Marshal(c.Counts()) // numbers and strings are always JSON
	return string(text)
}
