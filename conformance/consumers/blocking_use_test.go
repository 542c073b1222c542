package consumers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// In a callback, a blocking call would stop the loop that it waits for, and is refused. Calls that do not block are
// allowed.
func TestBlockingConnOnLoop(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "kept")
	a := kit.BlockingConn(t, s)
	l.Post(func() {
		_, err := a.Read(make([]byte, 1))
		evtest.AssertOpError(t, err, evnet.ErrOnLoop, "read")
		_, err = a.Write([]byte("x"))
		evtest.AssertOpError(t, err, evnet.ErrOnLoop, "write")
		_, err = a.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte("x")))
		evtest.AssertOpError(t, err, evnet.ErrOnLoop, "readfrom")
		assert.NoError(t, a.SetDeadline(time.Time{}))
		assert.Equal(t, "pipe", a.LocalAddr().Network())
		kit.Aside(l, func() {
			got, err := io.ReadAll(a)
			assert.NoError(t, err)
			assert.Equal(t, "kept", string(got))
			l.Do(func() { assert.NoError(t, a.Close()) })
		})
	})
	kit.Run(t, l)
}

// BlockingConn is refused without a connection, and there is only one view per connection.
func TestBlockingConnRefused(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	_, err := s.BlockingConn()
	kit.BadInput{Err: err, Is: []error{evnet.ErrSocketClosed, net.ErrClosed}, Code: "ERR_SOCKET_CLOSED"}.Check(t)
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { a.End(); a.Resume() })
	first := true
	s.On.Close(func(bool) {
		if first {
			first = false
			s.Connect("tcp", addr)
			return
		}
		_ = server.Close(nil)
	})
	s.Connect("tcp", addr)
	_, err = s.BlockingConn()
	assert.ErrorIs(t, err, evnet.ErrSocketClosed)
	var old net.Conn
	s.On.Connect(func() {
		c, err := s.BlockingConn()
		if !assert.NoError(t, err) {
			return
		}
		_, err = s.BlockingConn()
		assert.ErrorIs(t, err, evnet.ErrConsumed)
		if old == nil {
			old = c
			s.Destroy(nil)
			return
		}
		assert.NotEqual(t, old.LocalAddr().String(), c.LocalAddr().String())
		assert.NoError(t, old.SetDeadline(time.Now()))
		assert.NoError(t, old.(interface{ CloseRead() error }).CloseRead())
		assert.ErrorIs(t, old.(interface{ CloseWrite() error }).CloseWrite(), evnet.ErrDestroyed)
		assert.NoError(t, old.Close(), "the view of the first connection")
		assert.False(t, s.Destroyed())
		kit.Aside(l, func() {
			_, err := old.Write([]byte("x"))
			assert.ErrorIs(t, err, net.ErrClosed)
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Empty(t, got)
			assert.NoError(t, c.Close())
		})
	})
	kit.Run(t, l)
}

// A view may be made after End. It has nothing to read, but its addresses and its other direction work.
func TestBlockingConnAfterTheEnd(t *testing.T) {
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	kit.Consume(s)
	require.NoError(t, there.CloseWrite())
	s.On.End(func() {
		s.RemoveAllListeners(evnet.EventData)
		a := kit.BlockingConn(t, s)
		kit.Aside(l, func() {
			_, err := a.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
			_, err = io.WriteString(a, "answer")
			assert.NoError(t, err)
			assert.NoError(t, a.Close())
		})
	})
	kit.Run(t, l)
	got, err := io.ReadAll(there)
	assert.NoError(t, err)
	assert.Equal(t, "answer", string(got))
	_ = there.Close()
}

// halfRead returns a view that has received "one two", and whose Read has returned "one".
func halfRead(t *testing.T, l *evnet.Loop) (s *evnet.Socket, a, peer net.Conn) {
	s, peer = kit.WrapPipe(l, evnet.SocketOptions{})
	a = kit.BlockingConn(t, s)
	go func() { _, _ = io.WriteString(peer, "one two") }()
	return s, a, peer
}

// Detach hands over the data that the view has received but not read.
func TestBlockingConnDetach(t *testing.T) {
	l := evnet.NewLoop()
	s, a, peer := halfRead(t, l)
	kit.Aside(l, func() {
		got := make([]byte, 3)
		_, err := io.ReadFull(a, got)
		assert.NoError(t, err)
		conn, rest, err := s.Detach()
		if !assert.NoError(t, err) {
			return
		}
		assert.Equal(t, " two", string(rest))
		_, err = a.Read(got)
		evtest.AssertOpError(t, err, evnet.ErrDestroyed, "read")
		assert.NoError(t, a.Close())
		evtest.RequireOpen(t, conn, peer)
		assert.NoError(t, conn.Close())
	})
	kit.Run(t, l)
}

// A relay takes over the socket with its unread data.
func TestBlockingConnRelay(t *testing.T) {
	l := evnet.NewLoop()
	s, a, peer := halfRead(t, l)
	other, end := kit.WrapPipe(l, evnet.SocketOptions{})
	kit.Aside(l, func() {
		got := make([]byte, 3)
		_, err := io.ReadFull(a, got)
		assert.NoError(t, err)
		evnet.Relay(s, other, nil)
		passed := make([]byte, 4)
		_, err = io.ReadFull(end, passed)
		assert.NoError(t, err)
		assert.Equal(t, " two", string(passed))
		_, err = a.Read(got)
		evtest.AssertOpError(t, err, evnet.ErrConsumed, "read")
		_, err = a.Write(got)
		evtest.AssertOpError(t, err, evnet.ErrConsumed, "write")
		assert.NoError(t, a.Close())
		assert.False(t, s.Destroyed(), "the relay owns the socket")
		_, _ = peer.Close(), end.Close()
	})
	kit.Run(t, l)
}

func TestBlockingConnEncoding(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "ol\xc3", "\xa1", "\xc3")
	require.NoError(t, s.SetEncoding(evnet.UTF8))
	a := kit.BlockingConn(t, s)
	kit.Aside(l, func() {
		got, err := io.ReadAll(a)
		assert.NoError(t, err)
		assert.Equal(t, "olá\uFFFD", string(got))
		assert.NoError(t, a.Close())
	})
	kit.Run(t, l)
}

func TestBlockingConnPause(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one")
	s.Pause()
	a := kit.BlockingConn(t, s)
	resumed := false
	l.AfterFunc(time.Millisecond, func() { resumed = true; s.Resume() })
	kit.Aside(l, func() {
		_, err := io.ReadFull(a, make([]byte, 3))
		assert.NoError(t, err)
		l.Do(func() { assert.True(t, resumed) })
		assert.NoError(t, a.Close())
	})
	kit.Run(t, l)
}

// views is a net.Listener of the blocking views of a server's sockets.
type views struct {
	server *evnet.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newViews(server *evnet.Server) *views {
	v := &views{server: server, conns: make(chan net.Conn), closed: make(chan struct{})}
	server.On.Connection(func(s *evnet.Socket) {
		conn, err := s.BlockingConn()
		if err != nil {
			s.Destroy(err)
			return
		}
		go func() {
			select {
			case v.conns <- conn:
			case <-v.closed:
				_ = conn.Close()
			}
		}()
	})
	return v
}

func (v *views) Accept() (net.Conn, error) {
	select {
	case conn := <-v.conns:
		return conn, nil
	case <-v.closed:
		return nil, net.ErrClosed
	}
}

func (v *views) Addr() net.Addr { return v.server.Address() }

func (v *views) Close() error {
	v.once.Do(func() { close(v.closed); _ = v.server.Close(nil) })
	return nil
}

// The server and the client of net/http work over views, with and without TLS: with bodies in both directions,
// a file, and keep-alive connections.
func TestBlockingConnHTTP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	want := evtest.RandomBytes(evtest.Megabyte)
	require.NoError(t, os.WriteFile(file, want, 0o600))
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // read all of it: an earlier answer would cut off the request
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	evtest.OnBothTransports(t, func(t *testing.T) {
		for scheme, secure := range map[string]bool{"http": false, "https": true} {
			t.Run(scheme, func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				l, lc := evnet.NewLoop(), evnet.NewLoop()
				l.Ref()
				lc.Ref()
				server, addr := kit.Serve(t, l, nil, nil)
				ln := net.Listener(newViews(server))
				if secure {
					ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{evtest.SelfSigned()}})
				}
				wait := kit.RunInBackground(t, l, lc)
				dial := func(ctx context.Context, network, address string) (net.Conn, error) {
					s := evnet.NewSocket(&evnet.SocketOptions{Loop: lc})
					dialled := make(chan struct{})
					lc.Do(func() {
						s.On.Connect(func() { close(dialled) })
						s.ConnectContext(ctx, network, address)
					})
					<-dialled
					return s.BlockingConn()
				}
				transport := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
				serving := &http.Server{Handler: mux}
				var accepting sync.WaitGroup
				accepting.Go(func() { assert.ErrorIs(t, serving.Serve(ln), http.ErrServerClosed) })

				client := http.Client{Transport: transport}
				var asking sync.WaitGroup
				for i := range 8 {
					asking.Go(func() {
						for range 5 {
							body := want[:evtest.Megabyte>>i]
							r, err := client.Post(scheme+"://"+addr+"/echo", "", bytes.NewReader(body))
							if !assert.NoError(t, err) {
								return
							}
							got, err := io.ReadAll(r.Body)
							assert.NoError(t, err)
							evtest.AssertEqualBytes(t, body, got)
							_ = r.Body.Close()
						}
						r, err := client.Get(scheme + "://" + addr + "/file")
						if assert.NoError(t, err) {
							got, err := io.ReadAll(r.Body)
							assert.NoError(t, err)
							evtest.AssertEqualBytes(t, want, got)
							_ = r.Body.Close()
						}
					})
				}
				asking.Wait()
				client.Timeout = 20 * time.Millisecond
				_, err := client.Get(scheme + "://" + addr + "/slow") // the handler returns when the client disconnects
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				transport.CloseIdleConnections()
				assert.NoError(t, serving.Shutdown(t.Context()))
				accepting.Wait()
				l.Unref()
				lc.Unref()
				wait()
				goleak.VerifyNone(t, before)
			})
		}
	})
}

// bufio works over a view: lines, one request after the other.
func TestBlockingConnBufio(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for kind := range evtest.ConnKinds {
			t.Run(kind, func(t *testing.T) {
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop(), evnet.NewLoop())
				go func() {
					lines := bufio.NewScanner(b)
					for lines.Scan() {
						_, _ = fmt.Fprintf(b, "%d\n", len(lines.Text()))
					}
					assert.NoError(t, lines.Err())
					assert.NoError(t, b.Close())
				}()
				in := bufio.NewReader(a)
				for i := range 200 {
					_, err := fmt.Fprintf(a, "%0*d\n", i+1, 0)
					assert.NoError(t, err)
					line, err := in.ReadString('\n')
					assert.NoError(t, err)
					assert.Equal(t, fmt.Sprintf("%d\n", i+1), line)
				}
				assert.NoError(t, a.Close())
				wait()
			})
		}
	})
}
