package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/netpoll"
)

var (
	errReset  = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	errBroken = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
)

// holding makes an owner whose reader, which does not run, has a chunk or an error for the loop.
func holding(t testing.TB, data string, err error) (*testOwner, *goroutine) {
	here, _ := pipePair(t)
	o := own(newLoop(t), here)
	g := o.stream.workers
	g.buf, g.n, g.err, g.full = []byte(data), len(data), err, true
	return o, g
}

// The reader may get the end before the owner knows that the writer has failed. The end may be a consequence of a reset that
// the kernel has reported to the writer, so it is reported after the failure. A reset, and data, are reported.
func TestServe_WhileTheWriterFails(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		err  error
		held bool
	}{
		"reset":            {"", errReset, false},
		"end":              {"", io.EOF, true},
		"data":             {"last", nil, false},
		"data and the end": {"last", io.EOF, true},
	} {
		for _, failing := range []func(*goroutine){
			func(g *goroutine) { g.writeFailed = true },
			func(g *goroutine) { g.failure = errBroken },
		} {
			t.Run(name, func(t *testing.T) {
				o, g := holding(t, test.data, test.err)
				failing(g)
				o.Ready(netpoll.Readable)
				if test.held {
					assert.Empty(t, o.got.String())
					assert.Empty(t, o.errs)
					o.do(func(s *Stream) {
						unread, err := s.StopWriting()
						assert.True(t, unread)
						assert.NoError(t, err)
					})
					o.loop.drain()
				}
				assert.Equal(t, test.data, o.got.String())
				assert.Empty(t, o.flags)
				if test.err == nil {
					assert.Empty(t, o.errs)
				} else {
					assert.Equal(t, []error{test.err}, o.errs)
				}
			})
		}
	}
}

// After a failed write, a reader whose Read blocks has nothing more to report. Before that it reports what it reads.
func TestStopWriting_DetectsSilence(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, here)
	o.do(func(s *Stream) {
		s.Append([]byte("queued"))
		unread, err := s.StopWriting()
		assert.True(t, unread)
		assert.NoError(t, err)
		assert.False(t, s.MayWrite())
		assert.Zero(t, s.Queued())
		s.SetReading(true)
	})
	sent := make(chan error)
	go func() {
		_, err := there.Write([]byte("last"))
		sent <- err
	}()
	l.until(t, func() bool { return o.got.Len() == 4 })
	require.NoError(t, <-sent)
	assert.Empty(t, o.flags)
	l.until(t, func() bool { return len(o.flags) > 0 })
	assert.Equal(t, []Flags{Exhausted}, o.flags)
	assert.Empty(t, o.errs)
	o.retire(false)
}

// Sent and received bytes are reported separately, because a callback after the former may stop the flow.
func TestServe_SentAndReceivedApart(t *testing.T) {
	for _, events := range [][]netpoll.Events{
		{netpoll.Readable, netpoll.Writable},
		{netpoll.Writable, netpoll.Readable},
		{netpoll.Readable | netpoll.Writable},
	} {
		o, g := holding(t, "data", nil)
		g.moved = true
		reports := 0
		o.onReport = func(r *Report) {
			reports++
			assert.NotEqual(t, len(r.Data) > 0, r.Flags&Moved != 0)
		}
		for _, what := range events {
			o.Ready(what)
		}
		o.loop.drain()
		assert.Equal(t, 2, reports)
		assert.Equal(t, "data", o.got.String())
		assert.Equal(t, []Flags{Moved}, o.flags)
		o.onReport = nil
		o.Ready(netpoll.Readable | netpoll.Writable)
		assert.Equal(t, "data", o.got.String(), "nothing is reported twice")
		assert.Equal(t, []Flags{Moved}, o.flags)
	}
}

// failingConn is a net.Pipe whose Write fails, or does not return.
func failingConn(t testing.TB, write func([]byte) (int, error)) (c *scriptedConn) {
	c = newScripted(t, readResult{"", io.EOF})
	c.write = write
	return c
}

// Until the owner has taken the failure of the writer, no other goroutine may write, and the end of the connection waits.
func TestFailure_IsPendingUntilTaken(t *testing.T) {
	failed := errors.New("on purpose")
	l := newLoop(t)
	o := own(l, failingConn(t, func([]byte) (int, error) { return 0, failed }))
	checked := make(chan struct{})
	o.beforeFailed = func() {
		defer close(checked)
		o.do(func(s *Stream) {
			assert.False(t, s.MayWrite())
			assert.True(t, s.EndUnderway())
		})
	}
	o.send(t, []byte("x"))
	<-checked
	l.until(t, o.is(func(*Stream) bool { return len(o.failures) > 0 }))
	assert.Equal(t, []error{failed}, o.failures)
	assert.True(t, o.byWriter)
	o.do(func(s *Stream) {
		assert.False(t, s.EndUnderway())
		err, _ := s.TakeFailure()
		assert.NoError(t, err, "the failure is reported once")
		assert.Equal(t, 1, s.Queued())
	})
}

// A method of the conn that panics or calls runtime.Goexit has failed.
func TestMethodThatDoesNotReturn(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic("on purpose") },
		"goexit": runtime.Goexit,
	} {
		t.Run("write/"+name, func(t *testing.T) {
			l := newLoop(t)
			o := own(l, failingConn(t, func([]byte) (int, error) { leave(); return 0, nil }))
			o.send(t, []byte("x"))
			l.until(t, o.is(func(*Stream) bool { return len(o.failures) > 0 }))
			assert.ErrorIs(t, o.failures[0], errPanicked)
			assert.False(t, o.byWriter)
		})
		t.Run("read/"+name, func(t *testing.T) {
			l := newLoop(t)
			here, _ := pipePair(t)
			o := own(l, hookedConn{Conn: here, read: func([]byte) (int, error) { leave(); return 0, nil }})
			o.do(func(s *Stream) { s.SetReading(true) })
			l.until(t, func() bool { return len(o.errs) > 0 })
			assert.ErrorIs(t, o.errs[0], errPanicked)
		})
		t.Run("close/"+name, func(t *testing.T) {
			l := newLoop(t)
			here, _ := pipePair(t)
			o := own(l, hookedConn{Conn: here, close: func() error { leave(); return nil }})
			o.retire(false)
			l.until(t, o.is(func(*Stream) bool { return o.closing != nil }))
			assert.ErrorIs(t, o.closing, errPanicked)
		})
	}
}

// hookedConn is a conn with methods that the test can replace.
type hookedConn struct {
	net.Conn
	read  func([]byte) (int, error)
	write func([]byte) (int, error)
	close func() error
}

func (c hookedConn) Read(p []byte) (int, error) {
	if c.read == nil {
		return c.Conn.Read(p)
	}
	return c.read(p)
}

func (c hookedConn) Write(p []byte) (int, error) {
	if c.write == nil {
		return c.Conn.Write(p)
	}
	return c.write(p)
}

func (c hookedConn) Close() error {
	if c.close == nil {
		return c.Conn.Close()
	}
	return c.close()
}

// The end follows the queue, is sent once, and releases the memory of the queue. If the end is sent by closing the conn,
// the conn is not closed again.
func TestEnd_ByClosing(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	closed := 0
	o := own(l, hookedConn{Conn: here, close: func() error { closed++; return here.Close() }})
	o.send(t, []byte("last"))
	o.end(t)
	o.do(func(s *Stream) { assert.False(t, s.EndSent(), "bytes are queued") })
	got := make(chan string)
	go func() {
		p, _ := io.ReadAll(there)
		got <- string(p)
	}()
	assert.Equal(t, "last", <-got)
	l.until(t, func() bool { return o.ended == 1 })
	o.do(func(s *Stream) {
		assert.True(t, s.EndSent())
		assert.False(t, s.EndUnderway())
		assert.False(t, s.HalfCloses())
		assert.True(t, s.MayWrite())
		assert.False(t, s.queue.isActive())
		_, err := s.Flush()
		assert.NoError(t, err)
	})
	o.retire(false)
	l.running.Wait()
	assert.Equal(t, 1, closed)
	assert.Empty(t, o.failures)
}

// Once this side's end has closed the conn, a failure to read is the peer's end.
func TestServe_FailureAfterTheEndThatCloses(t *testing.T) {
	o, _ := holding(t, "", net.ErrClosed)
	o.stream.endSent = true
	o.Ready(netpoll.Readable)
	assert.Equal(t, []error{io.EOF}, o.errs)
}

// A failure to send the end is reported, unless the peer no longer needs the end.
func TestEnd_Fails(t *testing.T) {
	for _, peerEnded := range []bool{false, true} {
		l := newLoop(t)
		here, _ := pipePair(t)
		o := own(l, hookedConn{Conn: here, close: func() error { return io.ErrClosedPipe }})
		o.do(func(s *Stream) {
			if peerEnded {
				s.NotePeerEnd()
			}
		})
		o.end(t)
		l.until(t, o.is(func(*Stream) bool { return o.ended+len(o.failures) > 0 }))
		l.running.Wait()
		if peerEnded {
			assert.Empty(t, o.failures)
			assert.Equal(t, 1, o.ended)
		} else {
			assert.Equal(t, []error{io.ErrClosedPipe}, o.failures)
			assert.Zero(t, o.ended)
		}
	}
}

// Goroutines of a retired stream do not touch a later connection of the owner.
func TestRetire_EarlierGoroutines(t *testing.T) {
	for name, err := range map[string]error{"sent": nil, "failed": io.ErrClosedPipe} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			here, _ := pipePair(t)
			entered, finish := make(chan struct{}), make(chan struct{})
			o := own(l, hookedConn{Conn: here, write: func(p []byte) (int, error) {
				close(entered)
				<-finish
				if err != nil {
					return 0, err
				}
				return len(p), nil
			}})
			o.send(t, []byte("early"))
			<-entered
			o.retire(false)
			l.drain()

			served, later := o.served, own(l, failingConn(t, func(p []byte) (int, error) { return len(p), nil }))
			later.retire(false) // only its conn is used
			o.do(func(s *Stream) {
				*s = Stream{}
				s.Init(o)
				s.Open(later.stream.Conn())
				s.Append([]byte("new"))
			})
			close(finish)
			l.running.Wait()
			l.drain()
			o.do(func(s *Stream) {
				assert.Equal(t, 3, s.Queued())
				assert.Zero(t, s.Acked())
				assert.True(t, s.MayWrite())
			})
			assert.Equal(t, served, o.served)
			assert.Empty(t, o.failures)
			assert.Empty(t, o.flags)
		})
	}
}

// A reader that waits for the loop ends when the stream is retired, and nothing is reported.
func TestRetire_WaitingReader(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, here)
	o.do(func(s *Stream) { s.SetReading(true) })
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	l.until(t, o.is(func(s *Stream) bool { unread, _ := s.Unread(); return unread || o.served > 0 }))
	o.retire(false)
	l.running.Wait()
	served := o.served
	l.drain()
	assert.Equal(t, served, o.served)
}

// When the writer has finished, the owner gets an event even if all sent bytes are already reported, because it may write
// only now. The owner of a retired stream gets none.
func TestNextStep_ReportsRoom(t *testing.T) {
	for _, retired := range []bool{false, true} {
		here, _ := pipePair(t)
		o := own(newLoop(t), here)
		g := o.stream.workers
		g.writing, g.retired, g.moved = true, retired, retired
		again, sendsEnd := g.nextStep(nil)
		assert.False(t, again)
		assert.False(t, sendsEnd)
		next, ok := o.loop.take()
		assert.Equal(t, !retired, ok)
		if ok {
			assert.Equal(t, netpoll.Writable, next.what)
			o.do(func(s *Stream) { assert.True(t, s.MayWrite()) })
		}
	}
}
