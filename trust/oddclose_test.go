package trust

import (
	"net"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// embedding is a type of a program's own, which goroutines serve.
type embedding struct{ *net.TCPConn }

// A reset that has come before this side's end is the reader's to tell, as over a kernel conn.
func TestOddEndAfterAReset(t *testing.T) {
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
func TestOddResets(t *testing.T) {
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
