package listen

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scripted is a listener whose Accept is a function of the number of the call, from 1.
type scripted struct {
	net.Listener
	calls  int
	accept func(call int) (net.Conn, error)
	closed chan struct{}
}

func script(accept func(call int) (net.Conn, error)) *scripted {
	return &scripted{accept: accept, closed: make(chan struct{})}
}

func (s *scripted) Accept() (net.Conn, error) {
	s.calls++
	return s.accept(s.calls)
}

func (s *scripted) Close() error {
	close(s.closed)
	return nil
}

// untilClosed is an Accept that finds no connection.
func (s *scripted) untilClosed() (net.Conn, error) {
	<-s.closed
	return nil, net.ErrClosed
}

// recorder is an owner that calls functions; nil ones do nothing.
type recorder struct {
	accepted func(net.Conn)
	failed   func(error)
}

func (r recorder) Accepted(c net.Conn) {
	if r.accepted != nil {
		r.accepted(c)
	}
}

func (r recorder) AcceptFailed(err error) {
	if r.failed != nil {
		r.failed(err)
	}
}

// conn is a connection that is only passed on.
type conn struct{ net.Conn }

var errAccept = errors.New("no more descriptors")

func TestAcceptor_GivesConnectionsInOrder(t *testing.T) {
	want := []net.Conn{&conn{}, &conn{}, &conn{}}
	var ln *scripted
	ln = script(func(call int) (net.Conn, error) {
		if call <= len(want) {
			return want[call-1], nil
		}
		return ln.untilClosed()
	})
	var a *Acceptor
	var got []net.Conn
	a = NewAcceptor(ln, recorder{accepted: func(c net.Conn) {
		if got = append(got, c); len(got) == len(want) {
			assert.NoError(t, a.Close())
		}
	}})
	assert.NoError(t, a.Run(), "Run returns after Close")
	require.Len(t, got, len(want))
	for i := range want {
		assert.Same(t, want[i], got[i])
	}
}

func TestAcceptor_PausesLongerAfterEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []int
		last := time.Now()
		var a *Acceptor
		ln := script(func(call int) (net.Conn, error) {
			pauses = append(pauses, int(time.Since(last)/time.Millisecond))
			last = time.Now()
			switch call {
			case 11: // a success resets the pause
				return &conn{}, nil
			case 13: // counts as a failure
				return nil, nil
			case 14:
				assert.NoError(t, a.Close())
			}
			return nil, errAccept
		})
		failures := 0
		a = NewAcceptor(ln, recorder{failed: func(err error) {
			failures++
			if failures == 12 {
				assert.ErrorIs(t, err, errNoConn)
			} else {
				assert.ErrorIs(t, err, errAccept)
			}
		}})
		assert.NoError(t, a.Run())
		assert.Equal(t, []int{0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 0, 5, 10}, pauses)
		assert.Equal(t, 12, failures, "the error after Close is not reported")
	})
}

func TestAcceptor_CloseEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAcceptor(script(func(int) (net.Conn, error) { return nil, errAccept }), recorder{})
		done := make(chan error)
		go func() { done <- a.Run() }()
		synctest.Wait() // Run is in its pause
		began := time.Now()
		assert.NoError(t, a.Close())
		assert.NoError(t, <-done)
		assert.Equal(t, began, time.Now())
	})
}

func TestAcceptor_ReturnsThePermanentError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := NewAcceptor(ln, recorder{failed: func(err error) { t.Error(err) }})
	assert.Equal(t, ln.Addr(), a.Addr())
	require.NoError(t, ln.Close())
	assert.ErrorIs(t, a.Run(), net.ErrClosed)
}

func TestAcceptor_ReturnsTheListenersCloseError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	assert.ErrorIs(t, NewAcceptor(ln, recorder{}).Close(), net.ErrClosed)
}

// The owner contains a panic of Accept. Run does not recover.
func TestAcceptor_PassesPanicsAndGoexit(t *testing.T) {
	assert.PanicsWithValue(t, "boom", func() {
		_ = NewAcceptor(script(func(int) (net.Conn, error) { panic("boom") }), recorder{}).Run()
	})
	returned, done := false, make(chan struct{})
	go func() {
		defer close(done)
		_ = NewAcceptor(script(func(int) (net.Conn, error) { runtime.Goexit(); return nil, nil }), recorder{}).Run()
		returned = true
	}()
	<-done
	assert.False(t, returned)
}
