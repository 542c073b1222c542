package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"evnet/internal/nodecode"
)

// TLS is a layer on top of a conn: package tls on an adapter.

// Side is the role of a stream in the TLS handshake.
type Side bool

const (
	Client Side = false
	Server Side = true
)

// ErrTruncated is the error for a peer that closed the connection without close_notify.
var ErrTruncated error = &nodecode.Error{
	Text:  "unexpected EOF: the peer closed the connection without close_notify, the end of TLS",
	Code:  "ECONNRESET",
	Cause: io.ErrUnexpectedEOF,
}

// Handshaker is a *tls.Conn, or a conn that behaves like one.
type Handshaker interface {
	HandshakeContext(context.Context) error
}

// IsTLS reports whether the conn is a *tls.Conn, or a conn that behaves like one and reports the negotiated state.
func IsTLS(conn net.Conn) bool {
	_, ok := conn.(interface {
		Handshaker
		ConnectionState() tls.ConnectionState
	})
	return ok
}

// Secure returns a TLS conn on top of conn, or conn itself if it already uses TLS. early has the bytes that were already
// read from conn. For a client config without a server name, Secure uses a copy with host as the name.
func Secure(conn net.Conn, side Side, config *tls.Config, host string, early []byte) net.Conn {
	if _, secure := conn.(Handshaker); secure || config == nil {
		return conn
	}
	a := &adapter{Conn: conn, raw: newRawConn(conn), early: early}
	a.wire.began = time.Now()
	a.writer = newWireWriter(conn, a.raw, &a.wire)
	if side == Server {
		return tls.Server(a, config)
	}
	if config.ServerName == "" && host != "" {
		config = config.Clone()
		config.ServerName = host
	}
	return tls.Client(a, config)
}

// BeginHandshake returns a function that performs the handshake of the conn. Call the function without the lock, on a
// separate goroutine. It returns the negotiated state, if the conn has one. EndHandshake follows.
func (s *Stream) BeginHandshake() func(context.Context) (*tls.ConnectionState, error) {
	s.workers.handshaking = true
	conn := s.conn.(Handshaker)
	return func(ctx context.Context) (*tls.ConnectionState, error) {
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if c, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			state := c.ConnectionState()
			return &state, nil
		}
		return nil, nil
	}
}

// EndHandshake records that the handshake is no longer running.
func (s *Stream) EndHandshake() { s.workers.handshaking = false }

// adapter is the conn below a *tls.Conn that a stream has created.
type adapter struct {
	net.Conn
	raw     *rawConn // of a kernel conn, where it exists
	early   []byte   // to be read first
	ended   error    // to be reported after the last bytes
	writing atomic.Bool
	reset   atomic.Bool // reported to Write
	patient atomic.Bool
	writer  *wireWriter // nil for a conn that supports only its Write method
	wire    wire
	closed  atomic.Bool             // closed or about to be closed
	last    atomic.Pointer[rawConn] // set for the last write, which does not wait
}

// adapterOf returns the adapter of a *tls.Conn that a stream has created, nil for any other conn.
func adapterOf(conn net.Conn) *adapter {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	a, _ := c.NetConn().(*adapter)
	return a
}

// ProvesEnd reports whether io.EOF means that the peer has ended its side, even after a reset: it has sent close_notify.
func (s *Stream) ProvesEnd() bool { return adapterOf(s.conn) != nil }

// NetConn returns the conn itself.
func (a *adapter) NetConn() net.Conn { return a.Conn }

// Read returns an error for an end without close_notify. Package tls treats such an end as a clean one if it is between
// two records, so that a truncated stream would look complete.
func (a *adapter) Read(p []byte) (n int, err error) {
	switch {
	case len(a.early) > 0:
		n = copy(p, a.early)
		if a.early = a.early[n:]; len(a.early) == 0 {
			a.early = nil
		}
		return n, nil
	case a.ended != nil:
		return 0, a.ended
	}
	if IsKernelConn(a.Conn) {
		n, err = readKernel(a.Conn, a.raw, p)
	} else {
		n, err = a.readForeign(p)
	}
	a.wire.noteReceived(n)
	if err == io.EOF && a.wasReset() {
		err = readError(a.Conn, syscall.ECONNRESET)
	}
	if err == io.EOF {
		err = &net.OpError{Op: "read", Net: networkOf(a.RemoteAddr()), Source: a.LocalAddr(), Addr: a.RemoteAddr(), Err: ErrTruncated}
		a.ended = err
	}
	if n > 0 && err != nil { // package tls would ignore the bytes
		a.ended, err = err, nil
	}
	return n, err
}

// readForeign reads from a conn of any kind until it returns something that package tls can use.
func (a *adapter) readForeign(p []byte) (n int, err error) {
	var retries reads
	for n == 0 && err == nil {
		n, err = readInto(a.Conn, p)
		if n == 0 && a.closed.Load() {
			return 0, net.ErrClosed
		}
		err = retries.check(n, err)
	}
	switch {
	case !timedOut(err):
		return n, permanent(err)
	case n > 0:
		return n, nil // the next Read reports the timeout, if it still applies
	}
	return 0, classified{err, true}
}

// wasReset reports whether the conn was reset, although it reports an end: the kernel reports a reset once, to the reader or to
// the writer. A Write that is in progress returns immediately then.
func (a *adapter) wasReset() bool {
	for retries := retry(0); a.writing.Load() && retries.again(maxFailures); {
	}
	return a.reset.Load()
}

// Write writes all of p, because package tls does not retry.
func (a *adapter) Write(p []byte) (n int, err error) {
	a.writing.Store(true)
	defer a.writing.Store(false)
	if IsKernelConn(a.Conn) {
		n, err = a.writeKernel(p)
	} else {
		n, err = writeAll(notingConn{a.Conn, &a.wire}, p, a.closed.Load)
		err = permanent(err)
	}
	if errors.Is(err, syscall.ECONNRESET) {
		a.reset.Store(true)
	}
	return n, err
}

// Close is called by package tls too, when the context of a handshake ends.
func (a *adapter) Close() error {
	if a.closed.Swap(true) {
		return net.ErrClosed
	}
	return a.Conn.Close()
}

// classified is an error of a conn that is marked as temporary or permanent for package tls and its callers. Package tls
// does not store a temporary error.
type classified struct {
	error
	temporary bool
}

func (c classified) Timeout() bool   { return c.temporary }
func (c classified) Temporary() bool { return c.temporary }
func (c classified) Unwrap() error   { return c.error }

// permanent marks err as permanent, because it was already retried.
func permanent(err error) error {
	if isTemporary(err) {
		return classified{err, false}
	}
	return err
}

// SetWriteDeadline does not affect sendEnd.
func (a *adapter) SetWriteDeadline(d time.Time) error {
	if a.patient.Load() {
		return nil
	}
	return a.Conn.SetWriteDeadline(d)
}

// sendEnd ends this side of TLS and of the conn. It disables the limit of package tls of five seconds for a peer that does
// not read, because CloseTimeout is the limit.
func (a *adapter) sendEnd(over *tls.Conn) error {
	a.patient.Store(true)
	err := over.CloseWrite()
	if c, ok := a.Conn.(halfCloser); ok && err == nil {
		err = closeWrite(c)
	}
	return err
}

// StartTLS starts TLS on a recalled conn. early has the bytes of the handshake that the owner has received. They are
// followed by the bytes that the stream has not served, whose number StartTLS returns. Close the Closer of the driver
// below without the lock. It leaves the conn open. The handshake follows.
func (s *Stream) StartTLS(side Side, config *tls.Config, host string, early []byte) (unserved int, below Closer) {
	conn, rest := s.Detach()
	s.driver().retire()
	old := s.workers
	below = Closer{loop: s.owner.Loop(), conn: conn, workers: old, detached: true}
	s.conn = Secure(conn, side, config, host, append(early, rest...))
	s.workers = newGoroutine(s)
	s.workers.moved = old != nil && old.moved // the event for it is pending
	return len(rest), below
}
