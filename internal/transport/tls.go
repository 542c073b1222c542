package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"

	"evnet/internal/nodecode"
)

// TLS is a layer over a conn: package tls on an adapter.

// Side is the role of a stream in the TLS handshake.
type Side bool

const (
	Client Side = false
	Server Side = true
)

// ErrTruncated is the error of a peer that has closed the connection without the end of TLS.
var ErrTruncated error = &nodecode.Error{
	Text:  "unexpected EOF: the peer has closed the connection without the end of TLS (close_notify)",
	Code:  "ECONNRESET",
	Cause: io.ErrUnexpectedEOF,
}

// Handshaker is a *tls.Conn, or a conn that behaves like one.
type Handshaker interface {
	HandshakeContext(context.Context) error
}

// Secure puts TLS over a conn, unless that speaks TLS itself. early is what was read from it already. A client config
// without a server name gets host; the caller's is not changed.
func Secure(conn net.Conn, side Side, config *tls.Config, host string, early []byte) net.Conn {
	if _, secure := conn.(Handshaker); secure || config == nil {
		return conn
	}
	a := &adapter{Conn: conn, early: early}
	if side == Server {
		return tls.Server(a, config)
	}
	if config.ServerName == "" && host != "" {
		config = config.Clone()
		config.ServerName = host
	}
	return tls.Client(a, config)
}

// BeginHandshake returns what does the handshake of the conn, to be called without the lock on a goroutine of its own.
// It returns the state that was agreed on, if the conn has one. EndHandshake follows.
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

// EndHandshake notes that nobody is in the handshake any more.
func (s *Stream) EndHandshake() { s.workers.handshaking = false }

// adapter is the conn under a *tls.Conn that a stream has made.
type adapter struct {
	net.Conn
	early   []byte // to be read first
	ended   error  // to be reported after the last bytes
	patient atomic.Bool
	passed  atomic.Int64 // bytes that the conn has taken
	closed  atomic.Bool  // or about to be
}

// adapterOf returns the adapter of a *tls.Conn that a stream has made, nil for any other conn.
func adapterOf(conn net.Conn) *adapter {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	a, _ := c.NetConn().(*adapter)
	return a
}

// NetConn returns the conn itself.
func (a *adapter) NetConn() net.Conn { return a.Conn }

// Read reports an end that TLS has not announced as an error: package tls takes it for a clean end if it comes between
// two records, and then nobody could distinguish a truncated stream from a whole one.
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
		n, err = a.Conn.Read(p)
	} else {
		n, err = a.readForeign(p)
	}
	if err == io.EOF {
		err = &net.OpError{Op: "read", Net: networkOf(a.RemoteAddr()), Source: a.LocalAddr(), Addr: a.RemoteAddr(), Err: ErrTruncated}
		a.ended = err
	}
	if n > 0 && err != nil { // package tls would not look at the bytes
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
		return n, nil // if it is still so, the next Read reports it
	}
	return 0, classified{err, true}
}

// Write writes all of p: package tls accepts the first result.
func (a *adapter) Write(p []byte) (n int, err error) {
	if IsKernelConn(a.Conn) {
		n, err = a.Conn.Write(p)
	} else {
		n, err = writeAll(a.Conn, p, a.closed.Load)
		err = permanent(err)
	}
	a.passed.Add(int64(n))
	return n, err
}

// Close is called by package tls too, when the context of a handshake ends.
func (a *adapter) Close() error {
	if a.closed.Swap(true) {
		return net.ErrClosed
	}
	return a.Conn.Close()
}

// classified is an error of a conn with what package tls, and who asks that, is to consider it: a temporary one is not
// kept forever.
type classified struct {
	error
	temporary bool
}

func (c classified) Timeout() bool   { return c.temporary }
func (c classified) Temporary() bool { return c.temporary }
func (c classified) Unwrap() error   { return c.error }

// permanent is err, which is not to be retried: that was done.
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

// sendEnd ends this side of TLS, and of the conn. Package tls would give a peer up that does not read for five seconds:
// CloseTimeout is for that.
func (a *adapter) sendEnd(over *tls.Conn) error {
	a.patient.Store(true)
	err := over.CloseWrite()
	if c, ok := a.Conn.(halfCloser); ok && err == nil {
		err = closeWrite(c)
	}
	return err
}

// StartTLS puts TLS over a recalled conn. early is what the owner has received of the handshake already; what the
// stream has not served follows it. It returns how much that is. The Closer of the driver below is to be closed
// without the lock; it leaves the conn open. Handshake follows.
func (s *Stream) StartTLS(side Side, config *tls.Config, host string, early []byte) (unserved int, below Closer) {
	conn, rest := s.Detach()
	s.driver().retire()
	old := s.workers
	below = Closer{loop: s.owner.Loop(), conn: conn, workers: old, kept: true}
	s.conn = Secure(conn, side, config, host, append(early, rest...))
	s.workers = newGoroutine(s)
	s.workers.moved = old != nil && old.moved // the event that reports it is pending
	return len(rest), below
}
