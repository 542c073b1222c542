package evnet_test

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

	"github.com/stretchr/testify/assert"
)

// WriteTimeout under a clock of their own, over conns in memory.

// A socket with a WriteTimeout of 4 s looks every second. The first look finds how far the peer is, and the fourth
// without progress behind it ends the socket.
func TestWriteTimeout_Cases(t *testing.T) {
	const never = -1
	stuck := func(b *bubble) { _, _ = b.s.Write(make([]byte, 1<<20)) }
	reads := func(b *bubble, every time.Duration, n int) {
		go func() {
			for {
				time.Sleep(every) // of the bubble: no time passes
				if _, err := io.ReadFull(b.peer, make([]byte, n)); err != nil {
					return
				}
			}
		}()
	}
	for name, c := range map[string]struct {
		want time.Duration // when the socket ends, if it does
		play func(b *bubble)
	}{
		"nothing is written": {never, func(b *bubble) {}},
		"all is taken":       {never, func(b *bubble) { go io.Copy(io.Discard, b.peer); stuck(b) }},
		"nothing is read":    {5 * second, stuck},
		"a write at three":   {8 * second, func(b *bubble) { b.when(3*second, func() { stuck(b) }) }},
		"further writes":     {5 * second, func(b *bubble) { stuck(b); b.when(3*second, func() { stuck(b) }) }},
		"a piece every 3 s":  {never, func(b *bubble) { stuck(b); reads(b, 3*second, 64<<10) }},
		"a piece every 6 s":  {5 * second, func(b *bubble) { stuck(b); reads(b, 6*second, 64<<10) }},
		"a piece at 3 s, no more": {8 * second, func(b *bubble) {
			stuck(b)
			b.when(3500*time.Millisecond, func() { go io.ReadFull(b.peer, make([]byte, 64<<10)) })
		}},
		"bytes received": {5 * second, func(b *bubble) {
			stuck(b)
			go func() {
				for {
					time.Sleep(300 * time.Millisecond) // of the bubble: no time passes
					if _, err := b.peer.Write([]byte("abc")); err != nil {
						return
					}
				}
			}()
		}},
		"corked":                {never, func(b *bubble) { b.s.Cork(); stuck(b) }},
		"corked behind a write": {5 * second, func(b *bubble) { stuck(b); b.l.Post(func() { b.s.Cork(); stuck(b) }) }},
		"uncorked":              {15 * second, func(b *bubble) { b.s.Cork(); stuck(b); b.when(10*second, b.s.Uncork) }},
		"End":                   {5 * second, func(b *bubble) { stuck(b); b.s.End() }},
		"Close at three":        {5 * second, func(b *bubble) { stuck(b); b.when(3*second, func() { _ = b.s.Close() }) }},
		"paused":                {5 * second, func(b *bubble) { b.s.Pause(); stuck(b) }},
		"emptied, then stuck": {15 * second, func(b *bubble) {
			stuck(b)
			go io.ReadFull(b.peer, make([]byte, 1<<20))
			b.when(10*second, func() { stuck(b) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, evnet.SocketOptions{WriteTimeout: 4 * second, MaxWriteBuffer: -1}, func(b *bubble) {
				consume(b.s)
				var ended time.Duration = never
				b.s.On.Close(func(hadError bool) {
					if hadError {
						ended = b.now()
					}
				})
				c.play(b)
				b.destroyAt(30 * second)
				b.finally(func() {
					time.Sleep(10 * second) // of the bubble: the peer notices the end
					assert.Equal(t, c.want, ended)
					if c.want != never {
						isWriteTimeout(t, b.s.Err())
					}
				})
			})
		})
	}
}

// Under TLS a record that the conn has taken is progress, though the Write that it is part of goes on.
func TestWriteTimeout_CountsRecordsOfTLS(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // between two reads of a record
		ends  bool
	}{
		"slow":     {2 * second, false},
		"too slow": {6 * second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := net.Pipe()
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: named(), WriteTimeout: 4 * second})
				s.On.Error(func(error) {})
				consume(s)
				s.On.SecureConnect(func() { _, _ = s.Write(make([]byte, 192<<10)); _ = s.Close() })
				var peer sync.WaitGroup
				peer.Go(func() {
					over := tls.Server(there, serving())
					if !assert.NoError(t, over.Handshake()) {
						return
					}
					for {
						time.Sleep(c.every) // of the bubble: no time passes
						if _, err := over.Read(make([]byte, 16<<10)); err != nil {
							_ = over.Close()
							return
						}
					}
				})
				run(t, l)
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

// What waits for the connection or the handshake is not the peer's fault, and the next connection begins anew.
func TestWriteTimeout_BeginsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		peers := make(chan net.Conn, 2)
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, WriteTimeout: 4 * second, MaxWriteBuffer: -1,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(20 * second) // of the bubble: no time passes
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
		run(t, l)
		assert.Equal(t, []time.Duration{25 * second, 50 * second}, ends)
		_, _ = (<-peers).Close(), (<-peers).Close()
	})
}

// A handshake that stalls is HandshakeTimeout's.
func TestWriteTimeout_LeavesTheHandshakeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{
			Loop: l, TLSConfig: named(), WriteTimeout: 2 * second, HandshakeTimeout: 30 * second,
		})
		s.On.Error(func(error) {})
		_, _ = s.WriteString("early")
		run(t, l)
		assert.Equal(t, "ERR_TLS_HANDSHAKE_TIMEOUT", evnet.Code(s.Err()))
		assert.Equal(t, 30*second, time.Since(began))
		_ = there.Close()
	})
}
