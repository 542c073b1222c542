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

// Server.Sockets, called on another goroutine, returns no socket that does not have its conn yet. Writes,
// timeouts and Reset therefore work on each of them.
func TestServerSocketsAreConnected(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server, addr := serve(t, l, evnet.ServerOptions{}, func(c *evnet.Socket) { c.Destroy(nil) })
		var visited, unconnected atomic.Int64
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
					runtime.Gosched() // the loop may need this processor
					for _, c := range server.Sockets() {
						visited.Add(1)
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
		assert.NotZero(t, visited.Load())
		assert.Zero(t, unconnected.Load(), "of %d", visited.Load())
	})
}

// Close is emitted after the listener has closed, however long that takes, so that the address is free.
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
			aside(l, func() { _ = server.Close(nil) }) // Close is still running long after the socket has closed
			c.On.Close(func(bool) { l.AfterFunc(0, func() { close(release) }) })
		})
		listened := false
		server.Once.Close(func() {
			listened = assert.NoError(t, server.Listen("tcp", addr, nil))
			_ = server.Close(nil)
		})
		peer, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, server.Serve(&customListener{Listener: ln, close: func() error {
			_ = peer.Close()
			<-release
			return nil
		}}))
		run(t, l)
		assert.True(t, listened)
	})
}

// If Close of a conn that is dropped, blocked or accepted too late panics or blocks, nothing else is affected.
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
					first, second := &customConn{Conn: a}, &customConn{Conn: b}
					first.close = func() error { defer first.Conn.Close(); closes(release); return nil }
					second.close = func() error { close(release); _ = server.Close(nil); return second.Conn.Close() }
					drops := 0
					server.On.Drop(func(evnet.Drop) { drops++ })
					inner := listenerOf(first, second)
					ln := &customListener{Listener: inner, close: func() error { close(closed); return nil }}
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

// Closing a server also closes the connections that wait for a blocked loop, each once. Connections that would wait for a
// loop that a panic has ended, or that is not running, are served by another loop.
func TestServerClosesWhatWaits(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, stalled *evnet.Loop) (proceed func()){
		"blocked": func(t *testing.T, stalled *evnet.Loop) func() {
			blocked, release := make(chan struct{}), make(chan struct{})
			stalled.Post(func() { close(blocked); <-release })
			var others sync.WaitGroup
			others.Go(func() { run(t, stalled) })
			<-blocked
			return func() { close(release); others.Wait() }
		},
		"ended by a panic": func(t *testing.T, stalled *evnet.Loop) func() {
			stalled.Post(func() { panic(errCause) })
			assert.PanicsWithError(t, errCause.Error(), stalled.Run)
			return func() { run(t, stalled) }
		},
		"not run": func(t *testing.T, stalled *evnet.Loop) func() { return func() { run(t, stalled) } },
	} {
		for way, end := range map[string]func(t *testing.T, server *evnet.Server){
			"Shutdown": func(t *testing.T, server *evnet.Server) { assert.NoError(t, server.Shutdown(t.Context())) },
			"Close":    func(t *testing.T, server *evnet.Server) { assert.NoError(t, server.Close(nil)) },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l, stalled := evnet.NewLoop(), evnet.NewLoop()
					proceed := begin(t, stalled)
					var conns, peers []net.Conn
					var custom *customConn
					for i := range 5 { // the second and the fourth one wait for a blocked loop
						here, there := pair(t)
						peers = append(peers, there)
						if i == 3 {
							custom = &customConn{Conn: here}
							conns = append(conns, custom)
						} else {
							conns = append(conns, here)
						}
					}
					server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l, stalled}, Logger: quiet})
					served := 0
					server.On.Connection(func(s *evnet.Socket) {
						assert.Same(t, l, s.Loop())
						s.Destroy(nil)
						if served++; served == 5 || name == "blocked" && served == 3 {
							aside(l, func() { end(t, server) })
						}
					})
					l.Post(func() { require.NoError(t, server.Serve(listenerOf(conns...))) }) // l runs, and gets connections
					run(t, l)
					for _, peer := range peers {
						_ = peer.SetReadDeadline(time.Now().Add(patience))
						_, err := peer.Read(make([]byte, 1))
						assert.Equal(t, io.EOF, err)
						_ = peer.Close()
					}
					proceed()
					assert.EqualValues(t, 1, custom.closes.Load())
				})
			})
		}
	}
}

// A peer that is blocked during its TLS handshake does not cause a Connection event.
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

// As usual in Go, the server ignores a conn that Accept returns together with an error. It continues to accept.
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
		inner, beside := listenerOf(good), []net.Conn{none, a}
		require.NoError(t, server.Serve(&customListener{Listener: inner, accept: func() (net.Conn, error) {
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
		assert.NoError(t, err, "the conn still belongs to the listener")
		_, _ = a.Close(), b.Close()
	})
}
