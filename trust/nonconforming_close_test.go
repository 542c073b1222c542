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

// embedding is a type of a program's own, which goroutines serve.
type embedding struct{ *net.TCPConn }

// A reset that has come before this side's end is the reader's to tell, as over a kernel conn.
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
	s.On.Finish(func() { l.AfterFunc(time.Millisecond, s.Resume) }) // when the end has failed
	run(t, l)
	assert.Equal(t, "ECONNRESET", evnet.Code(s.Err()), "%v", s.Err())
}

// uncomparable is a conn that == panics for.
type uncomparable struct {
	net.Conn
	_ []func()
}

// over says of a conn what is below it.
type over struct {
	net.Conn
	below net.Conn
}

func (c over) NetConn() net.Conn { return c.below }

// A reset, by hand or by a Relay, closes a conn of any type, and the socket with it.
func TestNonConforming_Resets(t *testing.T) {
	for name, of := range map[string]func(*oddConn) net.Conn{
		"uncomparable": func(c *oddConn) net.Conn { return uncomparable{Conn: c} },
		"over nothing": func(c *oddConn) net.Conn { return over{Conn: c} },
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
				conn, peer := odd()
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

// hooked is a conn that calls a test's own function when it is asked to be reset, or for the conn below it.
type hooked struct {
	*oddConn
	linger func()
}

func (c hooked) SetLinger(int) error { c.linger(); return nil }

type hookedOver struct {
	*oddConn
	below func()
}

func (c hookedOver) NetConn() net.Conn { c.below(); return nil }

// What a reset calls of a conn may panic, exit or block: the conn is closed, under TLS too, and Close told.
func TestNonConforming_ResetsThatDoNotReturn(t *testing.T) {
	for where, of := range map[string]func(*oddConn, func()) net.Conn{
		"SetLinger": func(c *oddConn, fn func()) net.Conn { return hooked{c, fn} },
		"NetConn":   func(c *oddConn, fn func()) net.Conn { return hookedOver{c, fn} },
	} {
		closed := make(chan struct{})
		for how, fn := range map[string]func(){
			"panics": func() { panic(errCause) }, "exits": runtime.Goexit, "blocks": func() { <-closed },
		} {
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s, TLS %t", where, how, secure), func(t *testing.T) {
					closed = make(chan struct{})
					conn, peer := odd()
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
