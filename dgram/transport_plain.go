package dgram

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"evnet/internal/eventloop"
)

const (
	maxLinger   = time.Second           // time after Close in which queued messages are still sent
	fewFailures = 10                    // receives in a row that may fail before they are slowed down
	maxFailures = 100                   // receives in a row that may fail, not with a system error, before the socket closes
	maxBackOff  = 20 * time.Millisecond // between two receives
)

// plainTransport serves a conn of any kind by its methods. One goroutine reads one message at a time, and
// waits until the loop has delivered it. Another writes while messages are queued.
type plainTransport struct {
	s       *Socket
	conn    net.PacketConn
	udp     *net.UDPConn    // the same, if it is exactly that
	raw     syscall.RawConn // of udp; the writer's alone
	control syscall.RawConn // of udp, for any goroutine
	closed  chan struct{}   // closed by close
	writing bool            // there is a writer; guarded by s.mu
	batch   outbox          // messages that the writer has taken; the writer's alone
	peer    *netip.AddrPort // the receiver of those without an address; the writer's alone
	once    sync.Once       // closes the conn
	limit   *time.Timer     // of maxLinger; guarded by s.mu
}

func newPlainTransport(s *Socket, conn net.PacketConn) *plainTransport {
	t := &plainTransport{s: s, conn: conn, closed: make(chan struct{})}
	if udp, ok := conn.(*net.UDPConn); ok {
		t.udp = udp
		t.raw, _ = udp.SyscallConn()
		t.control = t.raw
	}
	return t
}

// ready is not called: the loop watches no descriptor for it.
func (t *plainTransport) ready(eventloop.Events) {}

func (t *plainTransport) startLocked() bool {
	t.s.core.Go(func() { t.s.guarded(t.read) })
	return true
}

func (t *plainTransport) read() {
	buf := make([]byte, maxMessage)
	delivered := make(chan struct{}, 1)
	failures := 0
	for !t.s.closed.Load() {
		n, from, err := t.readFrom(buf)
		if failures++; err == nil {
			failures = 0
		}
		t.s.core.Event(func() {
			defer func() { delivered <- struct{}{} }()
			if err != nil {
				t.s.receiveFailed(permanent(err, failures))
			} else {
				t.deliver(buf[:n], from)
			}
		})
		select {
		case <-delivered:
		case <-t.closed:
			return
		}
		if failures > fewFailures {
			select {
			case <-time.After(min(time.Duration(failures)*time.Millisecond, maxBackOff)):
			case <-t.closed:
			}
		}
	}
}

// permanent wraps an error that ends the conn in a permanentError. A system error concerns only one message.
func permanent(err error, failures int) error {
	var errno syscall.Errno
	if err == io.EOF || failures >= maxFailures && !errors.As(err, &errno) {
		return &permanentError{err}
	}
	return err
}

// permanentError matches net.ErrClosed too.
type permanentError struct{ error }

func (e *permanentError) Unwrap() []error { return []error{e.error, net.ErrClosed} }

func (t *plainTransport) readFrom(buf []byte) (n int, from netip.AddrPort, err error) {
	if t.udp != nil {
		t.unblock()
		n, from, err = t.udp.ReadFromUDPAddrPort(buf)
		return n, from, inner(err)
	}
	n, addr, err := t.conn.ReadFrom(buf)
	return max(0, min(n, len(buf))), addrPort(addr), inner(err)
}

// unblock makes the next call on the descriptor of udp wait in Go's network poller.
func (t *plainTransport) unblock() {
	if t.control != nil {
		_ = t.control.Control(func(fd uintptr) { setNonblocking(descriptor(fd)) })
	}
}

// inner removes the *net.OpError of package net: the socket adds its own.
func inner(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (t *plainTransport) deliver(msg []byte, from netip.AddrPort) {
	s := t.s
	if s.closed.Load() || s.refuses(from) {
		return
	}
	s.delivering = true
	s.beginCallbacks()
	s.emitMessage(msg, from)
	s.endCallbacks()
	s.delivering = false
	s.flush()
}

func (t *plainTransport) flushLocked() {
	if !t.writing && t.s.out.len() > 0 {
		t.writing = true
		t.s.pending++
		t.s.core.Go(t.write)
	}
}

func (t *plainTransport) closingLocked() bool {
	t.flushLocked()
	return t.writing
}

func (t *plainTransport) close() {
	close(t.closed)
	t.s.mu.Lock()
	writing := t.writing // no other writer begins
	if writing {
		t.limit = time.AfterFunc(maxLinger, t.closeConn)
	}
	t.s.mu.Unlock()
	if !writing {
		t.closeConn()
	}
}

// closeConn closes the conn, once: the end of the writer and the limit both call it. The Close of a foreign conn
// may block, and runs on a goroutine. The socket has ended by then, so a panic is only logged.
func (t *plainTransport) closeConn() { t.once.Do(t.closeNow) }

func (t *plainTransport) closeNow() {
	if t.udp != nil {
		_ = t.udp.Close()
		return
	}
	t.s.core.Go(func() {
		t.s.contain(func() { _ = t.conn.Close() }, func(err error) {
			t.s.core.Event(func() { // so that the loop contains a panic of the Logger
				if r, ok := t.s.record(); ok {
					r.Write("dgram: closing a conn has panicked", "err", err)
				}
			})
		})
	})
}

// write sends queued messages until there are none. It is the writer.
func (t *plainTransport) write() {
	stopped := false
	defer func() {
		if !stopped { // a method of the conn has panicked, and the socket is closed
			t.abort()
		}
	}()
	t.s.guarded(func() {
		for {
			more, closed := t.takeBatch()
			if !more {
				stopped = true
				t.writerStopped(closed)
				return
			}
			t.writeBatch()
		}
	})
}

// takeBatch takes the queued messages. If there are none, the writer stops; closed is for writerStopped.
func (t *plainTransport) takeBatch() (more, closed bool) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.len() == 0 {
		return false, t.stopLocked()
	}
	t.takeOverLocked(&s.out)
	return true, false
}

func (t *plainTransport) writeBatch() {
	s := t.s
	for t.batch.len() > 0 {
		d := t.batch.list[t.batch.head]
		err := t.writeTo(t.batch.message(d), d.to)
		if err != nil {
			err = s.opError("send", d.to, inner(err))
		}
		t.batch.take()
		s.mu.Lock()
		s.sentLocked(d, err)
		s.mu.Unlock()
	}
}

// abort drops the queue and stops the writer.
func (t *plainTransport) abort() {
	s := t.s
	s.mu.Lock()
	for t.batch.len() > 0 {
		s.sentLocked(t.batch.take(), ErrNotRunning)
	}
	s.dropQueueLocked()
	closed := t.stopLocked()
	s.mu.Unlock()
	t.writerStopped(closed)
}

// stopLocked lets another writer begin, unless the socket is closed. writerStopped follows, with the result.
func (t *plainTransport) stopLocked() (closed bool) {
	t.writing = false
	t.s.pending--
	if t.limit != nil {
		t.limit.Stop()
	}
	return t.s.closed.Load()
}

// writerStopped ends a closed socket, which has waited for the writer.
func (t *plainTransport) writerStopped(closed bool) {
	if closed {
		t.closeConn()
		t.s.settle()
	}
}

// takeOverLocked exchanges the empty batch for the queued messages.
func (t *plainTransport) takeOverLocked(o *outbox) {
	t.peer = t.s.remote.Load()
	t.batch.arena, o.arena = o.arena, t.batch.arena[:0]
	t.batch.list, o.list = o.list, t.batch.list[:0]
	t.batch.head, o.head = o.head, 0
}

func (t *plainTransport) writeTo(p []byte, to netip.AddrPort) error {
	if t.udp == nil {
		_, err := t.conn.WriteTo(p, net.UDPAddrFromAddrPort(to))
		return err
	}
	t.unblock()
	if to.IsValid() {
		_, err := t.udp.WriteToUDPAddrPort(p, to)
		if !errors.Is(err, net.ErrWriteToConnected) { // of a conn that was dialed: the kernel may accept it
			return err
		}
	}
	return t.writeRaw(p, to)
}

// writeRaw sends a message by the descriptor. Each attempt holds s.mu, so that Disconnect and Connect come before
// or after it: a message to a former peer of the socket needs that peer's address.
func (t *plainTransport) writeRaw(p []byte, to netip.AddrPort) error {
	var err error
	attempt := func(fd uintptr) bool {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		if !to.IsValid() && t.peer != t.s.remote.Load() {
			to = *t.peer
		}
		var name syscall.Sockaddr // nil: the peer
		if to.IsValid() {
			name = sockaddr(to)
		}
		for err = syscall.EINTR; err == syscall.EINTR; {
			err = sendMessage(descriptor(fd), p, name)
		}
		return err != syscall.EAGAIN
	}
	if failed := t.raw.Write(attempt); failed != nil {
		return failed
	}
	return os.NewSyscallError("sendto", err)
}
