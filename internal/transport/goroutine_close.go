package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// How the goroutine driver closes its conn.

func (t *goroutine) close(reset bool) {
	conn, closed := t.conn, t.closed
	// Close of a tls.Conn would send close_notify, which confirms to the peer that it has received everything.
	if a := adapterOf(conn); a != nil && !t.detached {
		conn, closed = a.Conn, a.closed.Swap(true)
	}
	switch {
	case t.detached:
	case closed:
		t.closeAsync(func() error { return nil })
	case IsKernelConn(conn):
		if reset {
			resetOnClose(conn)
		}
		_ = conn.Close()
	case reset:
		if c, ok := conn.(*tls.Conn); ok && IsKernelConn(c.NetConn()) {
			resetOnClose(c.NetConn()) // before package tls closes it when the context of the handshake ends
		}
		t.closeAsync(func() error { return closeByReset(conn) })
	default:
		t.closeAsync(conn.Close)
	}
}

// closeByReset closes a conn of any kind with a reset. It resets the conn below first, because Close of a tls.Conn would
// confirm to the peer that it has received everything.
func closeByReset(conn net.Conn) (err error) {
	defer func() { err = errors.Join(err, conn.Close()) }() // even if the code below panics
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

// closeAsync closes a conn of any kind on a goroutine, because Close may block, for seconds in the case of a tls.Conn.
// Close of some conns, such as a stream of a multiplexer, does not end a Read that waits for the peer. Only a deadline
// interrupts it.
func (t *goroutine) closeAsync(closeConn func() error) {
	closeAndInterrupt := func() error {
		defer func() { // even if closeConn panics
			t.owner.Mutex().Lock()
			inside := t.reading && !t.waiting || t.writing || t.handshaking
			t.owner.Mutex().Unlock()
			if inside {
				_ = t.conn.SetDeadline(time.Unix(1, 0))
			}
		}()
		return closeConn()
	}
	t.loop.Go(func() {
		contain(t.owner, closeAndInterrupt, func(err error, panicked bool) {
			if panicked {
				t.owner.ClosePanicked(err)
			}
		})
	})
}
