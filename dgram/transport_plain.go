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
)

const (
	maxLinger   = time.Second           // how long Close lets messages leave
	fewFailures = 10                    // of receives in a row, before they are slowed down
	maxFailures = 100                   // of those that are not the system's, before they are the end
	maxBackOff  = 20 * time.Millisecond // between two
)

// plainTransport serves a conn of any kind, by its methods: a goroutine reads one message at a time, and
// waits until the loop has delivered it; another writes while messages are queued.
type plainTransport struct {
	s       *Socket
	conn    net.PacketConn
	udp     *net.UDPConn // the same, if it is exactly that
	raw     syscall.RawConn
	gone    chan struct{}   // closed by close
	writing bool            // there is a writer; guarded by s.mu
	batch   outbox          // what it has taken over; the writer's alone
	peer    *netip.AddrPort // whom what has no address in it is for; the writer's alone
	once    sync.Once       // closes the conn
	limit   *time.Timer     // of how long it goes on after Close; guarded by s.mu
}

func newPlainTransport(s *Socket, conn net.PacketConn) *plainTransport {
	t := &plainTransport{s: s, conn: conn, gone: make(chan struct{})}
	if udp, ok := conn.(*net.UDPConn); ok {
		t.udp = udp
		t.raw, _ = udp.SyscallConn()
	}
	return t
}

func (t *plainTransport) start() bool {
	t.s.host.Spawn(func() { t.s.guarded(t.read) })
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
		t.s.host.Event(func() {
			defer func() { delivered <- struct{}{} }()
			if err != nil {
				t.s.receiveFailed(lasting(err, failures))
			} else {
				t.deliver(buf[:n], from)
			}
		})
		select {
		case <-delivered:
		case <-t.gone:
			return
		}
		if failures > fewFailures {
			select {
			case <-time.After(min(time.Duration(failures)*time.Millisecond, maxBackOff)):
			case <-t.gone:
			}
		}
	}
}

// lasting makes an error that means the end of the conn look so. One of the system is about a message.
func lasting(err error, failures int) error {
	var errno syscall.Errno
	if err == io.EOF || failures >= maxFailures && !errors.As(err, &errno) {
		return &lastingError{err}
	}
	return err
}

// lastingError also is net.ErrClosed.
type lastingError struct{ error }

func (e *lastingError) Unwrap() []error { return []error{e.error, net.ErrClosed} }

func (t *plainTransport) readFrom(buf []byte) (n int, from netip.AddrPort, err error) {
	if t.udp != nil {
		n, from, err = t.udp.ReadFromUDPAddrPort(buf)
		return n, from, inner(err)
	}
	n, addr, err := t.conn.ReadFrom(buf)
	return max(0, min(n, len(buf))), addrPort(addr), inner(err)
}

// inner leaves out what package net has added: the socket adds the same.
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
	s.host.Begin((*handle)(s))
	s.emitMessage(msg, from)
	s.host.End()
	s.delivering = false
	s.flush()
}

func (t *plainTransport) flush() {
	if !t.writing && t.s.out.len() > 0 {
		t.writing = true
		t.s.pending++
		t.s.host.Spawn(t.write)
	}
}

func (t *plainTransport) closing() bool {
	t.flush()
	return t.writing
}

func (t *plainTransport) close() {
	close(t.gone)
	t.s.mu.Lock()
	writing := t.writing // nor does one begin any more
	if writing {
		t.limit = time.AfterFunc(maxLinger, t.closeConn)
	}
	t.s.mu.Unlock()
	if !writing {
		t.closeConn()
	}
}

// closeConn closes the conn, once: both the writer's end and the limit come here. One that is not the
// system's may take its time, and is closed aside; the socket has ended by then, so that a panic is only
// logged.
func (t *plainTransport) closeConn() { t.once.Do(t.closeNow) }

func (t *plainTransport) closeNow() {
	if t.udp != nil {
		_ = t.udp.Close()
		return
	}
	t.s.host.Spawn(func() {
		contain(func() { _ = t.conn.Close() }, func(err error) {
			t.s.host.Event(func() { // whose panic the loop deals with
				if r, ok := t.s.record(); ok {
					r.Write("dgram: closing a conn has panicked", "err", err)
				}
			})
		})
	})
}

// write sends what is queued until there is nothing left, and after Close closes the conn.
func (t *plainTransport) write() {
	s := t.s
	stopped := false
	stop := func() { // s.mu is held, and released
		stopped = true
		t.writing = false
		s.pending--
		closed := s.closed.Load()
		if t.limit != nil {
			t.limit.Stop()
		}
		s.mu.Unlock()
		if closed {
			t.closeConn()
			s.settle()
		}
	}
	defer func() {
		if !stopped { // a method of the conn has panicked, and the socket is closed
			s.mu.Lock()
			for t.batch.len() > 0 {
				s.sent(t.batch.take(), ErrNotRunning)
			}
			s.dropQueue()
			stop()
		}
	}()
	s.guarded(func() {
		for {
			s.mu.Lock()
			if s.out.len() == 0 {
				stop()
				return
			}
			t.takeOver(&s.out)
			s.mu.Unlock()
			for t.batch.len() > 0 {
				d := t.batch.list[t.batch.head]
				err := t.writeTo(t.batch.message(d), d.to)
				if err != nil {
					err = s.opError("send", d.to, inner(err))
				}
				t.batch.take()
				s.mu.Lock()
				s.sent(d, err)
				s.mu.Unlock()
			}
		}
	})
}

// takeOver exchanges an empty batch for what is queued. s.mu is held.
func (t *plainTransport) takeOver(o *outbox) {
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
	if to.IsValid() {
		_, err := t.udp.WriteToUDPAddrPort(p, to)
		if !errors.Is(err, net.ErrWriteToConnected) { // of a conn that was dialed, though the system may not mind
			return err
		}
	}
	return t.writeRaw(p, to)
}

// writeRaw sends a message by the descriptor. Each try holds s.mu, so that Disconnect and Connect come before
// or after it: what is for a peer that the socket is not connected to any more needs its address.
func (t *plainTransport) writeRaw(p []byte, to netip.AddrPort) error {
	var err error
	try := func(fd uintptr) bool {
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
	if failed := t.raw.Write(try); failed != nil {
		return failed
	}
	return os.NewSyscallError("sendto", err)
}
