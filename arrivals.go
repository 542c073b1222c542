package evnet

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"evnet/internal/eventloop"
)

// maxArrivals is the number of accepted conns whose addresses may be awaited at the same time.
const maxArrivals = 4096

// accepted is a conn that is passed to a loop, with its addresses.
type accepted struct {
	conn net.Conn
	at   addresses
	err  error // the address methods have panicked: the loop continues the panic
}

// arrivals are the accepted conns whose address methods have not returned. They delay no other conn.
type arrivals struct {
	slots chan struct{} // one for each
	ended chan struct{} // closed by end

	mu     sync.Mutex
	conns  map[*unidentified]struct{}
	closed bool
}

// unidentified is one such conn. The function that removes it from the arrivals owns the conn.
type unidentified struct {
	conn  net.Conn
	timer *time.Timer
	state atomic.Int32
}

// The states of an unidentified conn: the acceptor waits for the addresses at first.
const (
	identifying    int32 = iota
	identified           // the acceptor passes the conn on
	identifiedLate       // its goroutine passes the conn on
)

func (a *arrivals) init() {
	a.slots, a.ended = make(chan struct{}, maxArrivals), make(chan struct{})
	a.conns = map[*unidentified]struct{}{}
}

// add adds a conn, and waits while there are too many. It returns nil if the server is closed. alone reports whether no
// other conn is late.
func (a *arrivals) add(conn net.Conn) (one *unidentified, alone bool) {
	select {
	case a.slots <- struct{}{}:
	case <-a.ended:
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false
	}
	one = &unidentified{conn: conn}
	a.conns[one] = struct{}{}
	return one, len(a.conns) == 1
}

// remove reports whether the conn was not removed before.
func (a *arrivals) remove(one *unidentified) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.conns[one]
	delete(a.conns, one)
	if one.timer != nil {
		one.timer.Stop()
	}
	return ok
}

// end returns the conns that are left, for the caller to close.
func (a *arrivals) end() (left []net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	close(a.ended)
	for one := range a.conns {
		if one.timer != nil {
			one.timer.Stop()
		}
		left = append(left, one.conn)
	}
	clear(a.conns)
	return left
}

// identify passes a conn on once its address methods have returned. It waits for them for a moment, so that conns keep
// their order, unless another conn is late. It runs on the acceptor's goroutine.
func (lis *listening) identify(conn net.Conn) {
	set := lis.server.settings[0]
	one, alone := lis.arrivals.add(conn)
	if one == nil {
		set.closeConn(conn)
		return
	}
	lis.limitIdentification(one)
	item := accepted{conn: conn}
	known := make(chan struct{})
	set.Loop.core().Go(func() {
		defer func() { <-lis.arrivals.slots }()
		eventloop.Contain((*handle)(nil), func() error {
			item.at = addresses{conn.LocalAddr(), conn.RemoteAddr()}
			return nil
		}, func(err error) {
			item.err = err
			late := !one.state.CompareAndSwap(identifying, identified)
			close(known)
			if late && lis.arrivals.remove(one) {
				lis.pass(item)
			}
		})
	})
	if alone {
		timer := time.NewTimer(foreignWait)
		defer timer.Stop()
		select {
		case <-known:
		case <-timer.C:
		}
	}
	if !one.state.CompareAndSwap(identifying, identifiedLate) {
		<-known
		if lis.arrivals.remove(one) {
			lis.pass(item)
		}
	}
}

// limitIdentification closes the conn if its peer makes the address methods wait for too long: for FirstByteTimeout, or for
// HandshakeTimeout.
func (lis *listening) limitIdentification(one *unidentified) {
	s := lis.server
	d := s.settings[0].HandshakeTimeout
	if s.opts.FirstByteTimeout > 0 {
		d = s.opts.FirstByteTimeout
	}
	if d <= 0 {
		return
	}
	lis.arrivals.mu.Lock()
	defer lis.arrivals.mu.Unlock()
	if _, ok := lis.arrivals.conns[one]; ok {
		one.timer = time.AfterFunc(d, func() {
			if lis.arrivals.remove(one) {
				s.settings[0].closeConn(one.conn)
			}
		})
	}
}
