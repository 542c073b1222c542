package main

import (
	"context"
	"errors"
	"time"

	"github.com/cloudwego/netpoll"
)

const dialTimeout = 10 * time.Second

// proxy connects conns in pairs as the documentation of netpoll.OnConnect shows.
//
// netpoll does not support two features. Its poller continues to read while a handler waits in Flush:
// bytes that the other side does not accept are buffered without bound. And the end of a peer closes its
// conn in both directions: the proxy passes it on by closing the other conn after the handler has flushed
// all bytes.
type proxy struct {
	upstream string
}

type peerKey struct{}

var errNoUpstream = errors.New("upstream did not answer")

func (p *proxy) onConnect(ctx context.Context, c netpoll.Connection) context.Context {
	up, err := netpoll.DialConnection("tcp", p.upstream, dialTimeout)
	if err != nil {
		c.Close()
		return ctx
	}
	c.AddCloseCallback(func(netpoll.Connection) error { return up.Close() })
	up.AddCloseCallback(func(netpoll.Connection) error { return c.Close() })
	up.SetOnRequest(func(_ context.Context, up netpoll.Connection) error { return pass(c, up) })
	return context.WithValue(ctx, peerKey{}, up)
}

func (p *proxy) onRequest(ctx context.Context, c netpoll.Connection) error {
	up, ok := ctx.Value(peerKey{}).(netpoll.Connection)
	if !ok {
		return errNoUpstream // c was closed, but netpoll still delivers its received bytes
	}
	return pass(up, c)
}

// pass closes a source that can no longer be forwarded. Otherwise netpoll would call its handler forever.
func pass(dst, src netpoll.Connection) error {
	err := forward(dst, src)
	if err != nil {
		src.Close()
	}
	return err
}
