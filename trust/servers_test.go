package trust

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who walks the sockets of a server on another goroutine meets none that has no conn yet: each takes what is
// written, is ended in time and reset.
func TestServerSocketsAreConnected(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server, addr := serve(t, l, evnet.ServerOptions{}, func(c *evnet.Socket) { c.Destroy(nil) })
		var met, unconnected atomic.Int64
		done := make(chan struct{})
		var walkers sync.WaitGroup
		for range 2 {
			walkers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					runtime.Gosched() // the loop may have but this processor
					for _, c := range server.Sockets() {
						met.Add(1)
						if c.ReadyState() == evnet.StateNew {
							unconnected.Add(1)
						}
					}
				}
			})
		}
		aside(l, func() {
			for range evtest.Pick(1000, 3000) {
				if c, err := net.Dial("tcp", addr); assert.NoError(t, err) {
					_ = c.Close()
				}
			}
			close(done)
			walkers.Wait()
			_ = server.Close(nil)
		})
		run(t, l)
		assert.NotZero(t, met.Load())
		assert.Zero(t, unconnected.Load(), "of %d", met.Load())
	})
}

// Close comes after the listener has closed, however long that takes: its address is free.
func TestServerCloseFindsTheAddressFree(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := ln.Addr().String()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
		release := make(chan struct{})
		server.On.Connection(func(c *evnet.Socket) {
			c.Resume()
			aside(l, func() { _ = server.Close(nil) }) // which goes on once the socket has long closed
			c.On.Close(func(bool) { l.AfterFunc(0, func() { close(release) }) })
		})
		listened := false
		server.Once.Close(func() {
			listened = assert.NoError(t, server.Listen("tcp", addr, nil))
			_ = server.Close(nil)
		})
		peer, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, server.Serve(&oddListener{Listener: ln, close: func() error {
			_ = peer.Close()
			<-release
			return nil
		}}))
		run(t, l)
		assert.True(t, listened)
	})
}

// A conn that is refused, or comes too late, costs nothing but itself when its Close panics or takes its time.
func TestServer_RefusesNonConformingConns(t *testing.T) {
	local := &evnet.BlockList{}
	require.NoError(t, local.Add("127.0.0.0/8"))
	for name, c := range map[string]struct {
		opts  evnet.ServerOptions
		late  bool
		drops int
	}{
		"dropped": {opts: evnet.ServerOptions{MaxConnections: -1}, drops: 2},
		"blocked": {opts: evnet.ServerOptions{BlockList: local}},
		"late":    {late: true},
	} {
		for manner, closes := range map[string]func(release chan struct{}){
			"panics": func(chan struct{}) { panic(errCause) }, "waits for the next": func(release chan struct{}) { <-release },
		} {
			t.Run(name+"/"+manner, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l := evnet.NewLoop()
					opts := c.opts
					opts.Loops, opts.Logger = []*evnet.Loop{l}, quiet
					server := evnet.NewServer(&opts)
					release, closed := make(chan struct{}), make(chan struct{})
					a, firstPeer := pair(t)
					b, secondPeer := pair(t)
					defer firstPeer.Close()
					defer secondPeer.Close()
					first, second := &oddConn{Conn: a}, &oddConn{Conn: b}
					first.close = func() error { defer first.Conn.Close(); closes(release); return nil }
					second.close = func() error { close(release); _ = server.Close(nil); return second.Conn.Close() }
					drops := 0
					server.On.Drop(func(evnet.Drop) { drops++ })
					inner := give(first, second)
					ln := &oddListener{Listener: inner, close: func() error { close(closed); return nil }}
					if c.late {
						server.On.Listening(func() { _ = server.Close(nil) })
						ln.accept = func() (net.Conn, error) {
							<-closed
							if len(inner.conns) > 0 {
								return <-inner.conns, nil
							}
							return inner.Accept()
						}
					}
					require.NoError(t, server.Serve(ln))
					run(t, l)
					assert.Equal(t, c.drops, drops)
					assert.EqualValues(t, 1, first.closes.Load())
				})
			})
		}
	}
}

// The end of a server is that of connections too that wait for a loop which does not take them up: it stands
// still, a panic has ended it, or nobody runs it. Each is closed once.
func TestServerClosesWhatWaits(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, still *evnet.Loop) (goOn func()){
		"stands still": func(t *testing.T, still *evnet.Loop) func() {
			stands, release := make(chan struct{}), make(chan struct{})
			still.Post(func() { close(stands); <-release })
			var others sync.WaitGroup
			others.Go(func() { run(t, still) })
			<-stands
			return func() { close(release); others.Wait() }
		},
		"ended by a panic": func(t *testing.T, still *evnet.Loop) func() {
			still.Post(func() { panic(errCause) })
			assert.PanicsWithError(t, errCause.Error(), still.Run)
			return func() { run(t, still) }
		},
		"not run": func(t *testing.T, still *evnet.Loop) func() { return func() { run(t, still) } },
	} {
		for way, end := range map[string]func(t *testing.T, server *evnet.Server){
			"Shutdown": func(t *testing.T, server *evnet.Server) { assert.NoError(t, server.Shutdown(t.Context())) },
			"Close":    func(t *testing.T, server *evnet.Server) { assert.NoError(t, server.Close(nil)) },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l, still := evnet.NewLoop(), evnet.NewLoop()
					goOn := begin(t, still)
					var conns, peers []net.Conn
					var odd *oddConn
					for i := range 5 { // the second and the fourth wait
						here, there := pair(t)
						peers = append(peers, there)
						if i == 3 {
							odd = &oddConn{Conn: here}
							conns = append(conns, odd)
						} else {
							conns = append(conns, here)
						}
					}
					server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l, still}, Logger: quiet})
					served := 0
					server.On.Connection(func(s *evnet.Socket) {
						assert.Same(t, l, s.Loop())
						s.Destroy(nil)
						if served++; served == 3 {
							aside(l, func() { end(t, server) })
						}
					})
					require.NoError(t, server.Serve(give(conns...)))
					run(t, l)
					for _, peer := range peers {
						_ = peer.SetReadDeadline(time.Now().Add(patience))
						_, err := peer.Read(make([]byte, 1))
						assert.Equal(t, io.EOF, err)
						_ = peer.Close()
					}
					goOn()
					assert.EqualValues(t, 1, odd.closes.Load())
				})
			})
		}
	}
}

// A peer that is blocked while its TLS handshake is under way has no Connection any more.
func TestServerBlocksDuringTheHandshake(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		banned := &evnet.BlockList{}
		server, addr := serve(t, l, evnet.ServerOptions{TLSConfig: selfSigned(), BlockList: banned}, func(c *evnet.Socket) {
			assert.Fail(t, "Connection of a blocked peer")
			c.Destroy(nil)
		})
		server.On.TLSClientError(func(err error, _ *evnet.Socket) { assert.NoError(t, err) })
		aside(l, func() {
			defer server.Close(nil)
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
				return banned.Add("127.0.0.1")
			}})
			if assert.NoError(t, err) {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, err = c.Read(make([]byte, 1))
				assert.Error(t, err)
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				_ = c.Close()
			}
		})
		run(t, l)
		assert.Zero(t, server.Connections())
	})
}

// What Accept answers beside an error is not looked at, as Go has it; accepting goes on.
func TestServerLooksAtNoConnBesideAnError(t *testing.T) {
	onEach(t, func(t *testing.T) {
		var none *net.TCPConn
		a, b := pair(t)
		good, peer := net.Pipe()
		defer peer.Close()
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
		var failures []error
		server.On.Error(func(err error) { failures = append(failures, err) })
		connections := 0
		server.On.Connection(func(c *evnet.Socket) { connections++; c.Destroy(nil); _ = server.Close(nil) })
		inner, beside := give(good), []net.Conn{none, a}
		require.NoError(t, server.Serve(&oddListener{Listener: inner, accept: func() (net.Conn, error) {
			if len(beside) == 0 {
				return inner.Accept()
			}
			conn := beside[0]
			beside = beside[1:]
			return conn, errCause
		}}))
		run(t, l)
		assert.Equal(t, []error{errCause, errCause}, failures)
		assert.Equal(t, 1, connections)
		_, err := a.Write([]byte("x"))
		assert.NoError(t, err, "it is its maker's")
		_, _ = a.Close(), b.Close()
	})
}
