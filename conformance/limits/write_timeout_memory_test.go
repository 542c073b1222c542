package limits_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// WriteTimeout over in-memory conns, under the fake clock of a bubble.

// A socket with a WriteTimeout of 4 s checks every second. The first check records the progress of the peer. The fourth
// check after it without progress ends the socket.
func TestWriteTimeout_Cases(t *testing.T) {
	const never = -1
	stuck := func(b *kit.Bubble) { _, _ = b.S.Write(make([]byte, 1<<20)) }
	reads := func(b *kit.Bubble, every time.Duration, n int) {
		go func() {
			for {
				time.Sleep(every) // in the bubble: no real time passes
				if _, err := io.ReadFull(b.Peer, make([]byte, n)); err != nil {
					return
				}
			}
		}()
	}
	for name, c := range map[string]struct {
		want time.Duration // the time when the socket ends, if it ends
		play func(b *kit.Bubble)
	}{
		"nothing is written": {never, func(b *kit.Bubble) {}},
		"all is read":        {never, func(b *kit.Bubble) { go io.Copy(io.Discard, b.Peer); stuck(b) }},
		"nothing is read":    {5 * time.Second, stuck},
		"a write at three":   {8 * time.Second, func(b *kit.Bubble) { b.When(3*time.Second, func() { stuck(b) }) }},
		"further writes":     {5 * time.Second, func(b *kit.Bubble) { stuck(b); b.When(3*time.Second, func() { stuck(b) }) }},
		"a piece every 3 s":  {never, func(b *kit.Bubble) { stuck(b); reads(b, 3*time.Second, 64<<10) }},
		"a piece every 6 s":  {5 * time.Second, func(b *kit.Bubble) { stuck(b); reads(b, 6*time.Second, 64<<10) }},
		"a piece at 3 s, no more": {8 * time.Second, func(b *kit.Bubble) {
			stuck(b)
			b.When(3500*time.Millisecond, func() { go io.ReadFull(b.Peer, make([]byte, 64<<10)) })
		}},
		"bytes received": {5 * time.Second, func(b *kit.Bubble) {
			stuck(b)
			go func() {
				for {
					time.Sleep(300 * time.Millisecond) // in the bubble: no real time passes
					if _, err := b.Peer.Write([]byte("abc")); err != nil {
						return
					}
				}
			}()
		}},
		"corked":                {never, func(b *kit.Bubble) { b.S.Cork(); stuck(b) }},
		"corked behind a write": {5 * time.Second, func(b *kit.Bubble) { stuck(b); b.L.Post(func() { b.S.Cork(); stuck(b) }) }},
		"uncorked":              {15 * time.Second, func(b *kit.Bubble) { b.S.Cork(); stuck(b); b.When(10*time.Second, b.S.Uncork) }},
		"End":                   {5 * time.Second, func(b *kit.Bubble) { stuck(b); b.S.End() }},
		"Close at three":        {5 * time.Second, func(b *kit.Bubble) { stuck(b); b.When(3*time.Second, func() { _ = b.S.Close() }) }},
		"paused":                {5 * time.Second, func(b *kit.Bubble) { b.S.Pause(); stuck(b) }},
		"emptied, then stuck": {15 * time.Second, func(b *kit.Bubble) {
			stuck(b)
			go io.ReadFull(b.Peer, make([]byte, 1<<20))
			b.When(10*time.Second, func() { stuck(b) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, evnet.SocketOptions{WriteTimeout: 4 * time.Second, MaxWriteBuffer: -1}, func(b *kit.Bubble) {
				kit.Consume(b.S)
				var ended time.Duration = never
				b.S.On.Close(func(hadError bool) {
					if hadError {
						ended = b.Now()
					}
				})
				c.play(b)
				b.DestroyAt(30 * time.Second)
				b.Finally(func() {
					time.Sleep(10 * time.Second) // in the bubble: the peer detects the end
					assert.Equal(t, c.want, ended)
					if c.want != never {
						isWriteTimeout(t, b.S.Err())
					}
				})
			})
		})
	}
}

// Under TLS, a record that the conn has accepted is progress, even if the Write that it belongs to continues.
func TestWriteTimeout_CountsRecordsOfTLS(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // between two reads of a record
		ends  bool
	}{
		"slow":     {2 * time.Second, false},
		"too slow": {6 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := net.Pipe()
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig(), WriteTimeout: 4 * time.Second})
				s.On.Error(func(error) {})
				kit.Consume(s)
				s.On.SecureConnect(func() { _, _ = s.Write(make([]byte, 192<<10)); _ = s.Close() })
				var peer sync.WaitGroup
				peer.Go(func() {
					over := tls.Server(there, evtest.ServerConfig())
					if !assert.NoError(t, over.Handshake()) {
						return
					}
					for {
						time.Sleep(c.every) // in the bubble: no real time passes
						if _, err := over.Read(make([]byte, 16<<10)); err != nil {
							_ = over.Close()
							return
						}
					}
				})
				kit.Run(t, l)
				if c.ends {
					isWriteTimeout(t, s.Err())
				} else {
					assert.NoError(t, s.Err())
				}
				_ = there.Close()
				peer.Wait()
			})
		})
	}
}

// Bytes that wait for the connection or the handshake do not count against the peer. The timeout starts again with the next
// connection.
func TestWriteTimeout_BeginsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		peers := make(chan net.Conn, 2)
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, WriteTimeout: 4 * time.Second, MaxWriteBuffer: -1,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(20 * time.Second) // in the bubble: no real time passes
				here, there := net.Pipe()
				peers <- there
				return here, nil
			}})
		s.On.Error(func(error) {})
		var ends []time.Duration
		s.On.Close(func(bool) {
			isWriteTimeout(t, s.Err())
			if ends = append(ends, time.Since(began)); len(ends) == 1 {
				s.Connect("unix", "a path")
				_, _ = s.Write(make([]byte, 1<<20))
			}
		})
		s.Connect("unix", "a path")
		_, _ = s.Write(make([]byte, 1<<20))
		kit.Run(t, l)
		assert.Equal(t, []time.Duration{25 * time.Second, 50 * time.Second}, ends)
		_, _ = (<-peers).Close(), (<-peers).Close()
	})
}

// HandshakeTimeout, not WriteTimeout, ends a stalled handshake.
func TestWriteTimeout_LeavesTheHandshakeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{
			Loop: l, TLSConfig: evtest.NamedClientConfig(), WriteTimeout: 2 * time.Second, HandshakeTimeout: 30 * time.Second,
		})
		s.On.Error(func(error) {})
		_, _ = s.WriteString("early")
		kit.Run(t, l)
		assert.Equal(t, "ERR_TLS_HANDSHAKE_TIMEOUT", evnet.Code(s.Err()))
		assert.Equal(t, 30*time.Second, time.Since(began))
		_ = there.Close()
	})
}
