package evnet

import (
	"context"
	"crypto/tls"
	"net"

	"evnet/internal/transport"
)

// The view of a socket that uses TLS. It has the methods by which packages recognize a TLS conn that is not a *tls.Conn.

// secureView has the methods that are added to the view of a TLS socket.
type secureView struct{ view *blockingConn }

// secureBlockingConn is a view whose socket uses TLS.
type secureBlockingConn struct {
	*blockingConn
	secureView
}

// secureHalfBlockingConn is a view whose socket uses TLS and can be half open.
type secureHalfBlockingConn struct {
	halfBlockingConn
	secureView
}

// viewLocked returns c with the methods that its socket supports. s.mu is held.
func (c *blockingConn) viewLocked() net.Conn {
	stream, upgrading := &c.s.stream, c.s.out.upgradePending
	half := stream.HalfCloses() || upgrading
	secure := upgrading || transport.IsTLS(stream.Conn())
	switch {
	case secure && half:
		return secureHalfBlockingConn{halfBlockingConn{c}, secureView{c}}
	case secure:
		return secureBlockingConn{c, secureView{c}}
	case half:
		return halfBlockingConn{c}
	}
	return c
}

// ConnectionState returns the result of the handshake, or the zero value before its end.
func (v secureView) ConnectionState() tls.ConnectionState {
	v.view.s.mu.Lock()
	defer v.view.s.mu.Unlock()
	if agreed := v.view.s.opt().agreed; agreed != nil && v.view.epoch == v.view.s.epoch {
		return *agreed
	}
	return tls.ConnectionState{}
}

// HandshakeContext waits for the end of the handshake. If ctx ends first, the socket fails with its error.
func (v secureView) HandshakeContext(ctx context.Context) error {
	for {
		h, err := v.pending()
		switch {
		case h == nil:
			return v.view.opError("handshake", err)
		case v.view.s.loop().OnLoop():
			return v.view.opError("handshake", ErrOnLoop)
		}
		select {
		case <-h.ctx.Done():
		case <-ctx.Done():
			v.view.s.abortHandshake(h, ctx.Err())
			return v.view.opError("handshake", ctx.Err())
		}
	}
}

// pending returns the handshake that has not ended, or nil and the reason that there is no connection.
func (v secureView) pending() (*handshaking, error) {
	c := v.view
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case c.closed:
		return nil, net.ErrClosed
	case c.cause != nil:
		return nil, c.cause
	}
	return c.s.opt().handshake, nil
}
