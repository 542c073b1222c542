package limits_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The limit of the bytes that all sockets of a loop buffer together.

const kilobyte = 1 << 10

// unread returns a socket whose peer does not read.
func unread(t testing.TB, l *evnet.Loop) (s *evnet.Socket, peer net.Conn) {
	s, peer = kit.WrapPipe(l, evnet.SocketOptions{})
	t.Cleanup(func() { _ = peer.Close() })
	return s, peer
}

func TestMaxBuffered_CountsWhatIsQueuedAndHeld(t *testing.T) {
	l := evnet.NewLoop()
	queued, _ := unread(t, l)
	_, _ = queued.Write(make([]byte, 10*kilobyte))
	queued.WriteThen(nil, nil)
	assert.EqualValues(t, 10*kilobyte+64, l.Buffered())

	held, peer := unread(t, l)
	_ = held.Scan(nil, 0, func([]byte) {})
	require.NoError(t, held.Unshift(make([]byte, kilobyte)))
	assert.EqualValues(t, 11*kilobyte+64, l.Buffered())
	kit.Aside(l, func() {
		_, _ = peer.Write(make([]byte, 2*kilobyte)) // a token without an end
		for held.ReadableLength() < 3*kilobyte {
			runtime.Gosched()
		}
		l.Do(func() {
			assert.EqualValues(t, 13*kilobyte+64, l.Buffered())
			held.Destroy(nil)
			assert.EqualValues(t, 10*kilobyte+64, l.Buffered())
			queued.Destroy(nil)
			assert.EqualValues(t, 64, l.Buffered(), "the callback is pending")
		})
	})
	kit.Run(t, l)
	assert.Zero(t, l.Buffered())
}

func TestMaxBuffered_IsTheProgramsToSet(t *testing.T) {
	l := evnet.NewLoop()
	assert.EqualValues(t, 256*evtest.Megabyte, l.MaxBuffered())
	l.SetMaxBuffered(kilobyte)
	assert.EqualValues(t, kilobyte, l.MaxBuffered())
	l.SetMaxBuffered(0)
	assert.EqualValues(t, 256*evtest.Megabyte, l.MaxBuffered())
	l.SetMaxBuffered(-5)
	assert.Negative(t, l.MaxBuffered())
	s, _ := unread(t, l)
	_, err := s.Write(make([]byte, kilobyte))
	assert.NoError(t, err, "there is no limit")
	assert.False(t, s.NeedDrain())
	s.Destroy(nil)
	kit.Run(t, l)
}

// From half of the limit on, a socket above its share needs to drain. From three quarters on, it is full. Sockets below
// their share are not affected.
func TestMaxBuffered_RefusesWritesOfTheLargest(t *testing.T) {
	l := evnet.NewLoop()
	l.SetMaxBuffered(80 * kilobyte)
	var sockets []*evnet.Socket
	for range 4 { // the share of each socket is 5 KB
		s, _ := unread(t, l)
		sockets = append(sockets, s)
	}
	large, other, small := sockets[0], sockets[1], sockets[2]
	_, err := large.Write(make([]byte, 39*kilobyte))
	assert.NoError(t, err)
	assert.False(t, large.NeedDrain(), "below half")
	_, err = other.Write(make([]byte, 10*kilobyte))
	assert.NoError(t, err)
	assert.True(t, other.NeedDrain(), "above half")
	_, err = large.Write(make([]byte, 11*kilobyte))
	assert.NoError(t, err, "below three quarters")
	assert.True(t, large.NeedDrain())
	_, err = large.Write([]byte("x"))
	assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
	large.WriteThen(nil, func(err error) { assert.ErrorIs(t, err, evnet.ErrWriteBufferFull) })
	_, err = small.Write(make([]byte, kilobyte))
	assert.NoError(t, err)
	assert.False(t, small.NeedDrain())
	for _, s := range sockets {
		s.Destroy(nil)
	}
	kit.Run(t, l)
}

// When the loop is short of memory, it stops reading from a peer that sends requests and does not read. Another peer is
// served meanwhile. When memory is available again, everything continues and nothing is lost.
func TestMaxBuffered_HoldsBackPeersThatRequestWithoutReading(t *testing.T) {
	const asked, answer = 3000, kilobyte
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		l.SetMaxBuffered(400 * kilobyte)
		most, answered := int64(0), 0
		line := bytes.Repeat([]byte("x"), answer)
		serveLines := func(conn net.Conn) *evnet.Socket {
			s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
			_ = s.Scan(nil, 0, func([]byte) {
				_, err := s.Write(line)
				assert.NoError(t, err)
				most = max(most, l.Buffered())
				answered++
			})
			return s
		}
		here, greedy := connection(t)
		_ = here.(*net.TCPConn).SetWriteBuffer(64 * kilobyte)
		_ = greedy.(*net.TCPConn).SetReadBuffer(64 * kilobyte)
		serveLines(here)
		here, good := connection(t)
		serveLines(here)
		kit.Aside(l, func() {
			_, err := greedy.Write(bytes.Repeat([]byte("\n"), asked))
			assert.NoError(t, err)
			for range 10 {
				_, err := good.Write([]byte("\n"))
				assert.NoError(t, err)
				_, err = io.ReadFull(good, make([]byte, answer))
				assert.NoError(t, err)
			}
			l.Do(func() {
				assert.Less(t, answered, asked, "the rest is held back")
				assert.Less(t, most, int64(400*kilobyte))
			})
			n, err := io.ReadFull(greedy, make([]byte, asked*answer))
			assert.NoError(t, err)
			assert.Equal(t, asked*answer, n)
			_, _ = greedy.Close(), good.Close()
		})
		kit.Run(t, l)
		assert.Equal(t, asked+10, answered)
		assert.Zero(t, l.Buffered())
	})
}

// A socket that is held back for too long is destroyed. Others are not.
func TestMaxBuffered_EndsSocketsThatStayAboveTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		l.SetMaxBuffered(80 * kilobyte)
		large, large2 := kit.WrapPipe(l, evnet.SocketOptions{})
		small, small2 := kit.WrapPipe(l, evnet.SocketOptions{})
		defer large2.Close()
		_ = large.OnRead(func([]byte) bool { return true })
		_ = small.OnRead(func([]byte) bool { return true })
		var cause error
		began := time.Now()
		large.On.Error(func(err error) {
			cause = err
			assert.GreaterOrEqual(t, time.Since(began), 30*time.Second)
			assert.False(t, small.Destroyed())
			small.Destroy(nil)
		})
		_, _ = small.Write(make([]byte, kilobyte))
		_, _ = large.Write(make([]byte, 60*kilobyte))
		kit.Aside(l, func() { // the limit is checked when the socket would read
			_, _ = large2.Write([]byte("x"))
			_, _ = small2.Write([]byte("x"))
		})
		l.Run()
		_ = small2.Close()
		assert.ErrorIs(t, cause, evnet.ErrMaxBuffered)
		assert.Zero(t, l.Buffered())
	})
}

// A socket is not destroyed for an earlier shortage of the loop. It continues.
func TestMaxBuffered_SparesSocketsWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		l.SetMaxBuffered(80 * kilobyte)
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		other, otherPeer := kit.WrapPipe(l, evnet.SocketOptions{})
		defer otherPeer.Close()
		got := ""
		_ = s.OnRead(func(p []byte) bool {
			got += string(p)
			return true
		})
		_, _ = s.Write(make([]byte, 36*kilobyte))
		_, _ = other.Write(make([]byte, 30*kilobyte))
		l.AfterFunc(time.Second, func() { other.Destroy(nil) }) // now less than half is buffered, but more than 3/8
		began := time.Now()
		kit.Aside(l, func() {
			_, _ = peer.Write([]byte("a")) // held back
			_, _ = peer.Write([]byte("b"))
			l.Do(func() {
				assert.Contains(t, got, "a")
				assert.GreaterOrEqual(t, time.Since(began), 30*time.Second)
				assert.False(t, s.Destroyed())
				s.Destroy(nil)
			})
			_ = peer.Close()
		})
		l.Run()
		assert.Zero(t, l.Buffered())
	})
}

// A socket that is held back because of the bytes of others continues when they are closed.
func TestMaxBuffered_RoomIsFoundWhenOthersLeave(t *testing.T) {
	l := evnet.NewLoop()
	l.SetMaxBuffered(80 * kilobyte)
	large, _ := unread(t, l)
	s, peer := unread(t, l)
	_, _ = large.Write(make([]byte, 50*kilobyte))
	token := 0
	_ = s.Scan(nil, 64*kilobyte, func(p []byte) {
		token = len(p)
		s.Destroy(nil)
	})
	const long = 40 * kilobyte // four times the share
	kit.Aside(l, func() {
		line := append(bytes.Repeat([]byte("x"), long), '\n')
		_, _ = peer.Write(line[:12*kilobyte])
		l.Do(func() { assert.Zero(t, token) })
		large.Destroy(nil)
		_, _ = peer.Write(line[12*kilobyte:])
	})
	kit.Run(t, l)
	assert.Equal(t, long, token)
}

// The buffered bytes of a closed connection no longer count after a reconnect. Otherwise the sum would grow forever.
func TestMaxBuffered_StartsAnewWithTheNextConnection(t *testing.T) {
	l := evnet.NewLoop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	times := 0
	s.On.Close(func(bool) {
		if times++; times < 5 {
			s.WriteThen([]byte("too late"), func(error) {})
			s.Connect("tcp", ln.Addr().String())
		}
	})
	s.On.Ready(func() {
		s.Cork()
		s.WriteThen(make([]byte, kilobyte), func(error) {})
		_ = s.Unshift(make([]byte, kilobyte))
		assert.GreaterOrEqual(t, l.Buffered(), int64(2*kilobyte))
		s.Destroy(nil)
	})
	s.Connect("tcp", ln.Addr().String())
	kit.Run(t, l)
	assert.Zero(t, l.Buffered())
}
