package trust

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// embedding is a program's own conn type. It uses the goroutine transport.
type embedding struct{ *net.TCPConn }

// If a reset arrives before this side's end, the reader reports it, as over a kernel conn.
func TestNonConforming_EndAfterAReset(t *testing.T) {
	here, there := pair(t)
	l := evnet.NewLoop()
	s := wrap(l, embedding{here})
	s.Pause()
	l.Post(func() {
		assert.NoError(t, there.SetLinger(0))
		assert.NoError(t, there.Close())
		s.End()
	})
	s.On.Finish(func() { l.AfterFunc(time.Millisecond, s.Resume) }) // after the end has failed
	run(t, l)
	assert.Equal(t, "ECONNRESET", evnet.Code(s.Err()), "%v", s.Err())
}

// uncomparable is a conn for which == panics.
type uncomparable struct {
	net.Conn
	_ []func()
}

// layered is a conn that returns the conn below it.
type layered struct {
	net.Conn
	below net.Conn
}

func (c layered) NetConn() net.Conn { return c.below }

// A reset, by the program or by a Relay, closes a conn of any type, and its socket.
func TestNonConforming_Resets(t *testing.T) {
	for name, of := range map[string]func(*customConn) net.Conn{
		"uncomparable":        func(c *customConn) net.Conn { return uncomparable{Conn: c} },
		"NetConn returns nil": func(c *customConn) net.Conn { return layered{Conn: c} },
	} {
		for how, reset := range map[string]func(l *evnet.Loop, s *evnet.Socket){
			"Reset": func(_ *evnet.Loop, s *evnet.Socket) { s.Reset() },
			"Relay": func(l *evnet.Loop, s *evnet.Socket) {
				other, _ := net.Pipe()
				o := wrap(l, other)
				evnet.Relay(s, o, nil)
				o.Destroy(errCause)
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				conn, peer := newCustomConn()
				l := evnet.NewLoop()
				s := wrap(l, of(conn))
				closes := 0
				s.On.Close(func(bool) { closes++ })
				l.Post(func() { reset(l, s) })
				run(t, l)
				assert.Equal(t, 1, closes)
				assert.EqualValues(t, 1, conn.closes.Load())
				_ = peer.Close()
			})
		}
	}
}

// hooked is a conn that calls a test's function when it is to be reset.
type hooked struct {
	*customConn
	linger func()
}

func (c hooked) SetLinger(int) error { c.linger(); return nil }

// hookedNetConn is a conn that calls a test's function when the conn below it is requested.
type hookedNetConn struct {
	*customConn
	below func()
}

func (c hookedNetConn) NetConn() net.Conn { c.below(); return nil }

// A conn's methods that a reset calls may panic, exit or block. The conn is closed all the same, under TLS too, and
// Close is emitted.
func TestNonConforming_ResetsThatDoNotReturn(t *testing.T) {
	for where, of := range map[string]func(*customConn, func()) net.Conn{
		"SetLinger": func(c *customConn, fn func()) net.Conn { return hooked{c, fn} },
		"NetConn":   func(c *customConn, fn func()) net.Conn { return hookedNetConn{c, fn} },
	} {
		closed := make(chan struct{})
		for how, fn := range map[string]func(){
			"panics": func() { panic(errCause) }, "exits": runtime.Goexit, "blocks": func() { <-closed },
		} {
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s, TLS %t", where, how, secure), func(t *testing.T) {
					closed = make(chan struct{})
					conn, peer := newCustomConn()
					calls := 0
					opts := evnet.SocketOptions{Logger: quiet}
					if secure {
						opts.TLSConfig = &tls.Config{InsecureSkipVerify: true}
					}
					l := evnet.NewLoop()
					opts.Loop = l
					s := evnet.Wrap(of(conn, func() { calls++; fn() }), &opts)
					l.Post(s.Reset)
					s.On.Close(func(hadError bool) { assert.False(t, hadError); close(closed) })
					run(t, l)
					assert.True(t, s.Closed())
					assert.Equal(t, 1, calls)
					assert.EqualValues(t, 1, conn.closes.Load())
					_ = peer.Close()
				})
			}
		}
	}
}
