package evnet

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// How a transport closes its conn, or gives it away.

func (t *goTransport) retire() { t.gone, t.want = true, false }

func (t *goTransport) close(reset bool) {
	conn, closed := t.conn, t.closed
	if b := beneathOf(conn); b != nil && !t.kept { // a tls.Conn's own Close would tell the peer that it has got all
		conn, closed = b.Conn, b.closed.Swap(true)
	}
	switch {
	case t.kept:
	case closed:
		t.closeAside(func() error { return nil })
	case isKernelConn(conn):
		if reset {
			resetOnClose(conn)
		}
		_ = conn.Close()
	case reset:
		if c, ok := conn.(*tls.Conn); ok && isKernelConn(c.NetConn()) {
			resetOnClose(c.NetConn()) // before package tls closes it, when a handshake's context ends
		}
		t.closeAside(func() error { return closeByReset(conn) })
	default:
		t.closeAside(conn.Close)
	}
}

// closeByReset closes a conn of any kind, and first the one below it, which is to be reset: a tls.Conn's own
// Close would tell the peer that it has got all.
func closeByReset(conn net.Conn) (err error) {
	defer func() { err = errors.Join(err, conn.Close()) }() // also where what follows panics
	over, ok := conn.(interface{ NetConn() net.Conn })
	if !ok {
		resetOnClose(conn)
		return nil
	}
	if below := over.NetConn(); below != nil {
		resetOnClose(below)
		return below.Close()
	}
	return nil
}

// closeAside closes a conn of any kind: that may block, a tls.Conn for seconds. The Close of some, such as a
// stream of a multiplexer, leaves a Read that waits for the peer as it is, and only a deadline calls it back.
func (t *goTransport) closeAside(fn func() error) {
	left := func() error {
		defer func() { // also when it panics
			t.s.mu.Lock()
			inside := t.reading && !t.waiting || t.writing || t.shaking
			t.s.mu.Unlock()
			if inside {
				_ = t.conn.SetDeadline(time.Unix(1, 0))
			}
		}()
		return fn()
	}
	t.s.set.Loop.spawn(func() { contain(t.s, left, t.s.set.connClosed) })
}

// recall brings the reader back from Read: it has left then, or has a chunk for the loop.
func (t *goTransport) recall() (<-chan struct{}, error) {
	t.recalled = true
	switch {
	case t.gone || t.deaf != nil:
		return nil, t.deaf
	case t.reading && !t.waiting && !t.full:
		if t.parting == nil {
			t.parting = make(chan struct{})
			t.interrupt()
		}
		return t.parting, nil
	case t.setting != nil:
		return t.setting, nil
	case t.interrupted && t.raw != nil:
		_ = t.conn.SetReadDeadline(time.Time{})
	case t.interrupted: // it may panic, or wait
		set := t.setDeadline(time.Time{}, func(err error) {
			if _, panicked := err.(*PanicError); panicked {
				t.deaf = err
			}
		})
		t.s.set.Loop.spawn(set)
		t.interrupted = false
		return t.setting, nil
	}
	t.interrupted = false
	return nil, nil
}

// keep lets the reader go on, as after Pause and Resume, also one that comes back only now.
func (t *goTransport) keep() { t.recalled, t.parting, t.deaf = false, nil, nil }

func (t *goTransport) untold() error {
	if t.full && t.err != io.EOF { // the conn may not tell it again
		return t.err
	}
	return nil
}

func (t *goTransport) detach() (net.Conn, []byte) {
	var rest []byte
	if t.full {
		rest = t.buf[:t.n]
	}
	t.kept = true
	return t.conn, rest
}
