package transport

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Behaviour of both drivers.

// pairs are connections of different kinds, each with both ends.
var pairs = map[string]func(t testing.TB) (here, there net.Conn){
	"tcp": func(t testing.TB) (net.Conn, net.Conn) {
		a, b := tcpPair(t)
		require.NoError(t, a.SetWriteBuffer(64<<10)) // so that the conn is not writable for a while
		require.NoError(t, b.SetReadBuffer(64<<10))
		return a, b
	},
	"pipe": pipePair,
}

// onEachConn runs the test with each driver and each kind of connection.
func onEachConn(t *testing.T, fn func(t *testing.T, here, there net.Conn)) {
	onEach(t, func(t *testing.T) {
		for name, pair := range pairs {
			t.Run(name, func(t *testing.T) {
				here, there := pair(t)
				fn(t, here, there)
			})
		}
	})
}

// Received bytes are reported in order and once. Then the end is reported once.
func TestReceive(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	onEachConn(t, func(t *testing.T, here, there net.Conn) {
		l := newLoop(t)
		o := own(l, here)
		o.onReport = func(r *Report) {
			if r.Err != nil {
				o.do(func(s *Stream) { s.SetReading(false) })
			}
		}
		o.do(func(s *Stream) { s.SetReading(true) })
		go func() { _, _ = there.Write(want); _ = there.Close() }()
		l.until(t, o.hasEnded)
		l.drain()
		assert.True(t, bytes.Equal(want, o.got.Bytes()))
		assert.Equal(t, []error{io.EOF}, o.errs)
		assert.Empty(t, o.flags)
	})
}

// Nothing is received while the owner does not want data.
func TestSetReading(t *testing.T) {
	onEachConn(t, func(t *testing.T, here, there net.Conn) {
		l := newLoop(t)
		o := own(l, here)
		o.onReport = func(r *Report) {
			if len(r.Data) > 0 {
				o.do(func(s *Stream) { s.SetReading(false) })
			}
		}
		o.do(func(s *Stream) { s.SetReading(true) })
		go func() { _, _ = there.Write([]byte("one")); _, _ = there.Write([]byte("two")); _ = there.Close() }()
		l.until(t, func() bool { return o.got.Len() > 0 })
		l.drain()
		got := o.got.Len()
		l.drain()
		assert.Equal(t, got, o.got.Len())
		o.onReport = nil
		o.do(func(s *Stream) { s.SetReading(true) })
		l.until(t, o.hasEnded)
		assert.Equal(t, "onetwo", o.got.String())
	})
}

// A queue of many pieces is sent completely and in order as the conn becomes writable, and then the end. After everything is
// sent, the owner gets a report and may write.
func TestSend(t *testing.T) {
	want := make([]byte, 200*largeSegment+777)
	for i := range want {
		want[i] = byte(i >> 8 * 13)
	}
	onEachConn(t, func(t *testing.T, here, there net.Conn) {
		l := newLoop(t)
		o := own(l, here)
		mayWrite := false
		o.onReport = func(r *Report) {
			assert.NoError(t, r.Err)
			o.do(func(s *Stream) { mayWrite = s.MayWrite() })
		}
		o.do(func(s *Stream) { s.Append(want[:1]) })
		for p := want[1:]; len(p) > 0; {
			n := min(len(p), 100_000)
			o.send(t, p[:n])
			p = p[n:]
		}
		o.do(func(s *Stream) {
			assert.False(t, s.MayWrite(), "the conn is not writable")
			assert.EqualValues(t, len(want), s.Accepted())
		})
		got := make(chan []byte)
		go func() {
			p := make([]byte, len(want))
			_, _ = io.ReadFull(there, p)
			got <- p
		}()
		l.until(t, o.is(func(s *Stream) bool { return mayWrite && s.Queued() == 0 }))
		assert.True(t, bytes.Equal(want, <-got))
		o.do(func(s *Stream) {
			assert.Equal(t, s.Accepted(), s.Acked())
			assert.Equal(t, s.Accepted(), s.Completed())
			assert.False(t, s.queue.isActive())
		})
		go func() { _, _ = io.Copy(io.Discard, there); close(got) }()
		o.end(t)
		<-got
		l.until(t, func() bool { return o.ended > 0 })
		assert.Empty(t, o.failures)
	})
}

// A held byte is not sent, and the end waits for it.
func TestHold(t *testing.T) {
	onEachConn(t, func(t *testing.T, here, there net.Conn) {
		l := newLoop(t)
		o := own(l, here)
		received := make(chan string)
		go func() {
			p := make([]byte, 8)
			for {
				n, err := there.Read(p)
				if err != nil {
					close(received)
					return
				}
				received <- string(p[:n])
			}
		}()
		o.send(t, []byte("one"))
		assert.Equal(t, "one", <-received)
		l.until(t, o.is(func(s *Stream) bool { return s.MayWrite() && s.Queued() == 0 }))
		o.do(func(s *Stream) {
			s.Hold()
			s.Append([]byte("two"))
			s.End()
			_, err := s.Flush()
			assert.NoError(t, err)
			assert.True(t, s.MayWrite())
			assert.False(t, s.EndSent())
			assert.Equal(t, 3, s.Queued())
			s.Unhold()
			_, err = s.Flush()
			assert.NoError(t, err)
		})
		assert.Equal(t, "two", <-received)
		_, open := <-received
		assert.False(t, open)
		l.until(t, func() bool { return o.ended > 0 })
	})
}

// A retired stream discards its queue and closes the conn, with a reset if that is requested.
func TestRetire(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, reset := range []bool{false, true} {
			l := newLoop(t)
			here, there := tcpPair(t)
			o := own(l, here)
			o.do(func(s *Stream) {
				s.SetReading(true)
				s.Hold()
				s.Append([]byte("dropped"))
			})
			o.retire(reset)
			o.do(func(s *Stream) {
				assert.False(t, s.IsOpen())
				assert.False(t, s.MayWrite())
				assert.Zero(t, s.Queued())
				assert.EqualValues(t, 7, s.Accepted())
				assert.Equal(t, net.Conn(here), s.Conn())
			})
			l.drain()
			got, err := io.ReadAll(there)
			assert.Empty(t, got)
			assert.Equal(t, reset, err != nil)
			assert.Empty(t, o.errs)
			o.retire(false) // closes nothing
		}
	})
}

// The memory of a driver is released even if the closed connection is still referenced.
func TestRetire_DropsTheDriver(t *testing.T) {
	l := newLoop(t)
	here, _ := pipePair(t)
	o := own(l, here)
	o.retire(false)
	assert.Nil(t, o.stream.workers)
	assert.Equal(t, here, o.stream.Conn())
}
