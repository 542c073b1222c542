package conns_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stuckConn is a conn with one method that blocks until it is released.
type stuckConn struct {
	*evtest.MemoryConn
	method  string
	release chan struct{}
}

// enter blocks in the method that is stuck.
func (c *stuckConn) enter(method string) {
	if c.method == method {
		<-c.release
	}
}

func (c *stuckConn) LocalAddr() net.Addr         { c.enter("LocalAddr"); return c.MemoryConn.LocalAddr() }
func (c *stuckConn) RemoteAddr() net.Addr        { c.enter("RemoteAddr"); return c.MemoryConn.RemoteAddr() }
func (c *stuckConn) Read(p []byte) (int, error)  { c.enter("Read"); return c.MemoryConn.Read(p) }
func (c *stuckConn) Write(p []byte) (int, error) { c.enter("Write"); return c.MemoryConn.Write(p) }
func (c *stuckConn) Close() error                { c.enter("Close"); return c.MemoryConn.Close() }
func (c *stuckConn) CloseWrite() error           { c.enter("CloseWrite"); return c.MemoryConn.CloseWrite() }
func (c *stuckConn) SetLinger(sec int) error {
	c.enter("SetLinger")
	return c.MemoryConn.SetLinger(sec)
}
func (c *stuckConn) SetNoDelay(bool) error { c.enter("SetNoDelay"); return nil }

func (c *stuckConn) SetKeepAliveConfig(net.KeepAliveConfig) error {
	c.enter("SetKeepAliveConfig")
	return nil
}

func (c *stuckConn) SetDeadline(d time.Time) error {
	c.enter("SetDeadline")
	return c.MemoryConn.SetDeadline(d)
}

func (c *stuckConn) SetReadDeadline(d time.Time) error {
	c.enter("SetReadDeadline")
	return c.MemoryConn.SetReadDeadline(d)
}

func (c *stuckConn) SetWriteDeadline(time.Time) error { c.enter("SetWriteDeadline"); return nil }

func (c *stuckConn) SyscallConn() (syscall.RawConn, error) {
	c.enter("SyscallConn")
	return nil, syscall.EINVAL
}

// stuckNetConn has a NetConn method too. The socket then uses some methods of the conn below instead.
type stuckNetConn struct{ *stuckConn }

func (c stuckNetConn) NetConn() net.Conn { c.enter("NetConn"); return c.MemoryConn }

// stuckMethods are the methods that a socket may call.
var stuckMethods = []string{"LocalAddr", "RemoteAddr", "Read", "Write", "Close", "CloseWrite", "SetLinger", "NetConn",
	"SetNoDelay", "SetKeepAliveConfig", "SetDeadline", "SetReadDeadline", "SetWriteDeadline", "SyscallConn"}

// exercise makes s call the methods of its conn.
func exercise(s *evnet.Socket) {
	s.On.Data(func([]byte) {})
	s.On.Error(func(error) {})
	_, _ = s.WriteString("hello")
	s.Pause()
	s.Loop().Post(s.Resume)
	s.Loop().AfterFunc(0, func() {
		_, _ = s.WriteString("again")
		s.End()
		s.Loop().AfterFunc(0, s.Reset)
	})
}

const stuckPort = 1000 // of the peer of a stuckConn

func memoryPair(port int) (client, server *evtest.MemoryConn) {
	at := func(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port} }
	return evtest.MemoryPair(at(port), at(80))
}

// A method of a conn that blocks holds up no other socket of the loop, and no other connection of the server.
func TestNonConforming_BlockingMethods(t *testing.T) {
	options := evnet.SocketOptions{NoDelay: true, KeepAlive: time.Minute, WriteTimeout: time.Hour, IdleTimeout: time.Hour}
	for how, use := range map[string]func(l *evnet.Loop, stuck, good net.Conn) (end func()){
		"accepted": func(l *evnet.Loop, stuck, good net.Conn) func() { return serveBoth(l, stuck, good, nil) },
		"accepted, TLS": func(l *evnet.Loop, stuck, good net.Conn) func() {
			return serveBoth(l, stuck, good, evtest.ServerConfig())
		},
		"wrapped": func(l *evnet.Loop, stuck, good net.Conn) func() {
			o := options
			o.Loop = l
			l.Post(func() {
				exercise(evnet.Wrap(stuck, &o))
				g := evnet.Wrap(good, &o)
				g.Pipe(g)
			})
			return func() {}
		},
		"dialed": func(l *evnet.Loop, stuck, good net.Conn) func() {
			o := options
			o.Loop = l
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return stuck, nil }
			s := evnet.NewSocket(&o)
			s.On.Ready(func() {
				exercise(s)
				g := evnet.Wrap(good, &evnet.SocketOptions{Loop: l})
				g.Pipe(g)
			})
			s.Connect("tcp", "127.0.0.1:1")
			return func() {}
		},
	} {
		for _, method := range stuckMethods {
			t.Run(how+"/"+method, func(t *testing.T) {
				l := evnet.NewLoop()
				evtest.VerifyNoLeaks(t)
				stuckPeer, stuck := memoryPair(stuckPort)
				goodPeer, good := memoryPair(stuckPort + 1)
				conn := &stuckConn{stuck, method, make(chan struct{})}
				var odd net.Conn = conn
				if method == "NetConn" {
					odd = stuckNetConn{conn}
				}
				end := use(l, odd, good)
				kit.Aside(l, func() {
					var c net.Conn = goodPeer
					if how == "accepted, TLS" {
						c = tls.Client(goodPeer, &tls.Config{InsecureSkipVerify: true})
						s := tls.Client(stuckPeer, &tls.Config{InsecureSkipVerify: true})
						go func() { _, _ = io.Copy(io.Discard, s) }()
					}
					for range 20 { // the other conn is used meanwhile
						_, err := c.Write([]byte("x"))
						assert.NoError(t, err)
						_, err = io.ReadFull(c, make([]byte, 1))
						assert.NoError(t, err)
					}
					close(conn.release)
					_ = goodPeer.Close()
					_ = stuckPeer.Close()
					end()
				})
				kit.Run(t, l)
			})
		}
	}
}

// serveBoth passes both conns to a server that echoes, except on the conn that is stuck.
func serveBoth(l *evnet.Loop, stuck, good net.Conn, config *tls.Config) (end func()) {
	ln := evtest.NewMemoryListener()
	server := evnet.NewServer(&evnet.ServerOptions{
		Loops: []*evnet.Loop{l}, NoDelay: true, KeepAlive: time.Minute, WriteTimeout: time.Hour, TLSConfig: config,
		BlockList: &evnet.BlockList{}, MaxConnectionsPerAddress: 10,
	})
	server.On.Connection(func(c *evnet.Socket) {
		if c.RemoteAddr().(*net.TCPAddr).Port == stuckPort {
			exercise(c)
		} else {
			c.Pipe(c)
		}
	})
	server.On.TLSClientError(func(error, *evnet.Socket) {})
	_ = server.Serve(ln)
	ln.Conns <- stuck
	ln.Conns <- good
	return func() { _ = server.Close(nil) }
}

// headerConn is a conn whose RemoteAddr waits for a header, as one of the PROXY protocol does.
type headerConn struct {
	net.Conn
	header chan net.Addr
	closed chan struct{}
}

func (c *headerConn) RemoteAddr() net.Addr {
	select {
	case at := <-c.header:
		c.header <- at
		return at
	case <-c.closed:
		return nil
	}
}

func (c *headerConn) Close() error { close(c.closed); return c.Conn.Close() }

func newHeaderConn() (c *headerConn, peer net.Conn) {
	here, there := net.Pipe()
	return &headerConn{here, make(chan net.Addr, 1), make(chan struct{})}, there
}

// Clients that send no header delay no other client. The server closes them with FirstByteTimeout, or at its end.
func TestServer_SilentClientsOfTheProxyProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silent = 200
		l := evnet.NewLoop()
		ln := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{
			Loops: []*evnet.Loop{l}, FirstByteTimeout: time.Minute, MaxConnectionsPerAddress: 1,
		})
		var served, dropped []string
		server.On.Connection(func(c *evnet.Socket) { served = append(served, c.RemoteAddr().String()) })
		server.On.Drop(func(d evnet.Drop) { dropped = append(dropped, d.Remote.String()) })
		require.NoError(t, server.Serve(ln))
		done := make(chan struct{})
		go func() { defer close(done); l.Run() }()
		var first []*headerConn
		for range silent {
			c, _ := newHeaderConn()
			first = append(first, c)
			ln.Conns <- c
		}
		begin := time.Now()
		good, goodPeer := newHeaderConn()
		good.header <- &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7}
		ln.Conns <- good
		synctest.Wait()
		assert.LessOrEqual(t, time.Since(begin), time.Second)
		l.Do(func() { assert.Equal(t, []string{"192.0.2.7:7"}, served) })

		first[3].header <- &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8} // late, and one too many
		first[4].header <- &net.TCPAddr{IP: net.IPv4(192, 0, 2, 8), Port: 9}
		synctest.Wait()
		l.Do(func() {
			assert.Equal(t, []string{"192.0.2.7:7", "192.0.2.8:9"}, served)
			assert.Equal(t, []string{"192.0.2.7:8"}, dropped)
			assert.Equal(t, 2, server.Connections())
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for i, c := range first {
			select {
			case <-c.closed:
			default:
				assert.Fail(t, "a silent client is not closed", i)
			}
		}
		last, _ := newHeaderConn()
		ln.Conns <- last
		synctest.Wait()
		_ = goodPeer.Close()
		server.CloseAllConnections()
		assert.NoError(t, server.Close(nil))
		<-done
		<-last.closed
	})
}

// stuckListener is a listener whose Close blocks until it is released.
type stuckListener struct {
	*evtest.MemoryListener
	release chan struct{}
}

func (l *stuckListener) Close() error { <-l.release; return l.MemoryListener.Close() }

// A listener whose Close blocks does not stop the loop. The server's Close event comes after it.
func TestServer_ListenerThatIsSlowToClose(t *testing.T) {
	l := evnet.NewLoop()
	evtest.VerifyNoLeaks(t)
	ln := &stuckListener{evtest.NewMemoryListener(), make(chan struct{})}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	var got kit.Notes
	server.On.Close(got.Say("close"))
	server.On.Listening(func() {
		assert.NoError(t, server.Close(got.Say("onClose")))
		got.Say("returned")()
		l.AfterFunc(time.Millisecond, func() {
			got.Say("another callback")()
			close(ln.release)
		})
	})
	require.NoError(t, server.Serve(ln))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"returned", "another callback", "close", "onClose"}, got)
}

// panickingAddress is a conn whose RemoteAddr panics once it is released.
type panickingAddress struct{ *stuckConn }

func (c panickingAddress) RemoteAddr() net.Addr { <-c.release; panic(evtest.Boom("no address")) }

// Wrap does not wait for addresses that are late: the socket has them once they are known. A panic of their method is an
// Error then.
func TestWrap_AddressesThatAreLate(t *testing.T) {
	for name, panics := range map[string]bool{"known later": false, "panic": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				peer, conn := memoryPair(stuckPort)
				stuck := &stuckConn{conn, "RemoteAddr", make(chan struct{})}
				var s *evnet.Socket
				var got *kit.Notes
				l.Post(func() {
					if panics {
						s = evnet.Wrap(panickingAddress{stuck}, &evnet.SocketOptions{Loop: l})
					} else {
						s = evnet.Wrap(stuck, &evnet.SocketOptions{Loop: l})
					}
					got = kit.NoteLife(s)
				})
				done := make(chan struct{})
				go func() { defer close(done); kit.Run(t, l) }()
				time.Sleep(time.Second) // of the fake clock
				l.Do(func() {
					assert.Nil(t, s.RemoteAddr())
					assert.Equal(t, evnet.StateOpen, s.ReadyState())
				})
				close(stuck.release)
				synctest.Wait()
				if !panics {
					l.Do(func() { assert.Equal(t, conn.RemoteAddr(), s.RemoteAddr()) })
					_ = peer.Close()
				}
				<-done
				if panics {
					assert.Equal(t, kit.Notes{"error ", "close true"}, *got)
					var err *evnet.PanicError
					require.ErrorAs(t, s.Err(), &err)
					assert.Equal(t, evtest.Boom("no address"), err.Value)
				} else {
					assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *got)
				}
			})
		})
	}
}
