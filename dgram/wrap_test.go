package dgram_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWrap(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		s, err := dgram.Wrap(conn, &dgram.SocketOptions{Loop: l, Network: "udp6"}) // ignored: the conn decides
		require.NoError(t, err)
		assert.Equal(t, addrOf(conn), s.Address())
		assert.Equal(t, conn, s.Conn())
		assert.Equal(t, l, s.Loop())
		require.ErrorIs(t, s.Bind("", nil), dgram.ErrAlreadyBound)
		listening := false
		s.On.Listening(func() { listening = true })
		s.On.Message(func(msg []byte, from netip.AddrPort) {
			assert.True(t, listening)
			require.NoError(t, s.SendTo(msg, from, func(error) { closed(s) }))
		})
		c := peer(t)
		_, err = c.WriteToUDPAddrPort([]byte("hello"), s.Address())
		require.NoError(t, err)
		run(t, l)
		assert.Equal(t, "hello", reads(t, c))
		_, _, err = conn.ReadFrom(nil)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestWrapConnected(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		c := peer(t)
		conn, err := net.Dial("udp", c.LocalAddr().String())
		require.NoError(t, err)
		s, err := dgram.Wrap(conn.(*net.UDPConn), &dgram.SocketOptions{Loop: l})
		require.NoError(t, err)
		remote, err := s.RemoteAddress()
		require.NoError(t, err)
		assert.Equal(t, addrOf(c), remote)
		require.NoError(t, s.Send([]byte("hello"), "", func(error) { closed(s) }))
		run(t, l)
		assert.Equal(t, "hello", reads(t, c))
	})
}

// fake is a conn whose methods call functions of the test.
type fake struct {
	read   func(p []byte) (int, net.Addr, error)
	write  func(p []byte, to net.Addr) (int, error)
	close  func()
	closed chan struct{}
	closes atomic.Int32
	net.PacketConn
}

func newFake() *fake { return &fake{closed: make(chan struct{})} }

func (f *fake) ReadFrom(p []byte) (int, net.Addr, error) {
	if f.read == nil {
		<-f.closed
		return 0, nil, net.ErrClosed
	}
	return f.read(p)
}

func (f *fake) WriteTo(p []byte, to net.Addr) (int, error) { return f.write(p, to) }
func (f *fake) LocalAddr() net.Addr                        { return &net.UnixAddr{Name: "fake", Net: "unixgram"} }

func (f *fake) Close() error {
	if f.closes.Add(1) == 1 {
		close(f.closed)
	}
	if f.close != nil {
		f.close()
	}
	return nil
}

func wrap(t *testing.T, l *evnet.Loop, conn net.PacketConn) *dgram.Socket {
	t.Helper()
	s, err := dgram.Wrap(conn, &dgram.SocketOptions{Loop: l})
	require.NoError(t, err)
	return s
}

func TestWrapAnyConn(t *testing.T) {
	l := evnet.NewLoop()
	f := newFake()
	messages := make(chan string, 10)
	f.read = func(p []byte) (int, net.Addr, error) {
		select {
		case m := <-messages:
			return copy(p, m), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}, nil
		case <-f.closed:
			return 0, nil, net.ErrClosed
		}
	}
	f.write = func(p []byte, to net.Addr) (int, error) {
		messages <- string(p) + " from " + to.String()
		return len(p), nil
	}
	s := wrap(t, l, f)
	assert.False(t, s.Address().IsValid())
	require.ErrorIs(t, s.SetTTL(1), errors.ErrUnsupported)
	require.ErrorIs(t, s.AddMembership("224.0.0.114", ""), errors.ErrUnsupported)
	s.On.Message(func(msg []byte, from netip.AddrPort) {
		assert.Equal(t, "hello from [::1]:9", string(msg))
		assert.Equal(t, "192.0.2.1:7", from.Addr().Unmap().String()+":7")
		closed(s)
	})
	require.NoError(t, s.Connect("127.0.0.1:9", func(err error) {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NoError(t, s.Send([]byte("hello"), "[::1]:9", nil), "the family of the conn is unknown")
	}))
	run(t, l)
}

func TestWrapUnixgram(t *testing.T) {
	if !onLinux {
		t.Skip("not every operating system has unixgram")
	}
	l := evnet.NewLoop()
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	at := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", at)
	require.NoError(t, err)
	s := wrap(t, l, conn)
	s.On.Message(func(msg []byte, from netip.AddrPort) {
		assert.Equal(t, "hello", string(msg))
		assert.False(t, from.IsValid())
		closed(s)
	})
	c, err := net.DialUnix("unixgram", nil, at)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	run(t, l)
}

// A failed receive is emitted as Error. A conn that fails permanently is closed.
func TestWrapFailingConn(t *testing.T) {
	t.Parallel() // it waits, and so do its cases
	for name, c := range map[string]struct {
		err   error
		least int
	}{"the end": {io.EOF, 1}, "repeatedly": {errOwn, 100}, "closed elsewhere": {net.ErrClosed, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := evnet.NewLoop()
			f := newFake()
			f.read = func([]byte) (int, net.Addr, error) { return 0, nil, c.err }
			s := wrap(t, l, f)
			failures, closes := 0, 0
			s.On.Error(func(err error) {
				failures++
				require.ErrorIs(t, err, c.err)
			})
			s.On.Close(func() { closes++ })
			run(t, l)
			assert.Equal(t, c.least, failures)
			assert.Equal(t, 1, closes)
			<-f.closed
		})
	}
}

func TestWrapPanickingConn(t *testing.T) {
	for name, set := range map[string]func(*fake){
		"read":  func(f *fake) { f.read = func([]byte) (int, net.Addr, error) { panic(errOwn) } },
		"write": func(f *fake) { f.write = func([]byte, net.Addr) (int, error) { panic(errOwn) } },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			f := newFake()
			f.write = func(p []byte, _ net.Addr) (int, error) { return len(p), nil }
			set(f)
			s := wrap(t, l, f)
			var emitted error
			reported, closes := 0, 0
			s.On.Error(func(err error) { emitted = err })
			s.On.Close(func() { closes++ })
			for range 3 {
				require.NoError(t, s.Send([]byte("x"), "127.0.0.1:9", func(error) { reported++ }))
			}
			run(t, l)
			require.ErrorIs(t, emitted, errOwn)
			var p *evnet.PanicError
			require.ErrorAs(t, emitted, &p)
			assert.Equal(t, []int{3, 1}, []int{reported, closes})
			<-f.closed
		})
	}
}

// A conn whose Write never returns delays Close only for a limited time, and is closed once.
func TestWrapStuckConn(t *testing.T) {
	t.Parallel() // it waits
	l := evnet.NewLoop()
	f := newFake()
	f.write = func([]byte, net.Addr) (int, error) {
		<-f.closed
		return 0, net.ErrClosed
	}
	s := wrap(t, l, f)
	reported := 0
	for range 3 {
		require.NoError(t, s.Send([]byte("x"), "127.0.0.1:9", func(err error) {
			require.ErrorIs(t, err, net.ErrClosed)
			reported++
		}))
	}
	s.On.Listening(func() { closed(s) })
	s.On.Close(func() { assert.Equal(t, 3, reported) })
	run(t, l)
	assert.Equal(t, 3, reported)
	assert.EqualValues(t, 1, f.closes.Load())
}

// A conn that is slow to close delays only the return of Run.
func TestWrapSlowClose(t *testing.T) {
	for _, writing := range []bool{false, true} {
		l := evnet.NewLoop()
		f := newFake()
		f.write = func(p []byte, _ net.Addr) (int, error) { return len(p), nil }
		release := make(chan struct{})
		left := false
		f.close = func() { <-release; left = true }
		s := wrap(t, l, f)
		s.On.Listening(func() {
			if writing {
				require.NoError(t, s.Send([]byte("x"), "127.0.0.1:9", nil))
			}
			closed(s)
		})
		s.On.Close(func() { close(release) })
		run(t, l)
		assert.True(t, left)
		assert.EqualValues(t, 1, f.closes.Load())
	}
}

// A Close that panics or ends its goroutine is logged.
func TestWrapPanickingClose(t *testing.T) {
	for name, blow := range map[string]func(){"panic": func() { panic(errOwn) }, "Goexit": runtime.Goexit} {
		for _, writing := range []bool{false, true} {
			l := evnet.NewLoop()
			f := newFake()
			f.write = func(p []byte, _ net.Addr) (int, error) { return len(p), nil }
			f.close = blow
			log := newRecords()
			s, err := dgram.Wrap(f, &dgram.SocketOptions{Loop: l, Logger: newLogger(log)})
			require.NoError(t, err)
			var events []string
			s.On.Error(func(err error) { t.Error(err) })
			s.On.Close(func() { events = append(events, "close") })
			s.On.Listening(func() {
				if writing {
					require.NoError(t, s.Send([]byte("x"), "127.0.0.1:9", func(err error) {
						assert.NoError(t, err)
						events = append(events, "sent")
					}))
				}
				closed(s)
			})
			run(t, l)
			want := []string{"close"}
			if writing {
				want = []string{"sent", "close"}
			}
			assert.Equal(t, want, events, name)
			assert.Len(t, log.list, 1, name)
			assert.EqualValues(t, 1, f.closes.Load(), name)
		}
	}
}

// If the program closes the conn directly, the socket emits Error.
func TestConnClosedByOthers(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := open(t, l, dgram.SocketOptions{})
		require.NoError(t, s.Bind("127.0.0.1:0", func() {
			require.NoError(t, s.Conn().Close())
			l.Post(func() {
				if err := s.Send([]byte("x"), s.Address().String(), nil); err != nil {
					require.ErrorIs(t, err, net.ErrClosed)
				}
			})
		}))
		emitted := 0
		s.On.Error(func(err error) {
			emitted++
			require.ErrorIs(t, err, net.ErrClosed)
			closed(s)
		})
		run(t, l)
		assert.NotZero(t, emitted)
	})
}
