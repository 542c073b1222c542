package trust

import (
	"crypto/tls"
	"io"
	"maps"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A limit may expire while a callback blocks the loop. It must not close a connection whose data arrived before that.

const (
	lateLimit = 500 * time.Millisecond
	lateFor   = 2 * lateLimit
)

// late is a server whose loop is blocked from Connection on, until the peer has done its part and the limit has
// expired.
type late struct {
	options evnet.ServerOptions
	here    func(s *evnet.Socket) // in Connection
	bytes   int                   // how many the peer sends before it closes
}

// A blocked loop does not cost a peer its connection.
func TestLateLoop(t *testing.T) {
	alternately(t, 0, func(t *testing.T) {
		tests := map[string]func(*testing.T){"a peer that reads": spareReader}
		maps.Copy(tests, limitTests)
		if netpoll.Enabled {
			maps.Copy(tests, manyReady)
		}
		together(t, tests)
	})
}

// limitTests have limits that expire while the loop is blocked.
var limitTests = map[string]func(t *testing.T){
	"the first byte": late{options: evnet.ServerOptions{FirstByteTimeout: lateLimit}, bytes: 5}.run,
	"after silence":  late{options: evnet.ServerOptions{IdleTimeout: lateLimit}, bytes: 5}.run,
	"an answer and an end": late{
		options: evnet.ServerOptions{CloseTimeout: lateLimit}, here: (*evnet.Socket).End, bytes: 40_000,
	}.run,
}

// run blocks the loop in Connection.
func (b late) run(t *testing.T) {
	here, there := pair(t)
	l := evnet.NewLoop()
	b.options.Loops, b.options.Logger = []*evnet.Loop{l}, quiet
	server := evnet.NewServer(&b.options)
	got, ended := 0, false
	server.On.Connection(func(s *evnet.Socket) {
		s.On.Data(func(p []byte) { got += len(p) })
		s.On.End(func() { ended = true })
		s.On.Close(func(bool) {
			assert.NoError(t, s.Err())
			_ = server.Close(nil)
		})
		if b.here != nil {
			b.here(s)
		}
		l.AfterFunc(0, func() { // after the limit has started
			_, err := there.Write(block[:b.bytes]) // the kernel has received it
			assert.NoError(t, err)
			assert.NoError(t, there.Close())
			time.Sleep(lateFor)
		})
	})
	require.NoError(t, server.Serve(listenerOf(here)))
	run(t, l)
	assert.Equal(t, b.bytes, got)
	assert.True(t, ended)
}

// spareReader checks a peer that reads everything from the kernel while a callback blocks the loop. WriteTimeout does
// not close its connection, although the socket has nothing to send meanwhile.
func spareReader(t *testing.T) {
	const limit, total = 600 * time.Millisecond, 32 << 20
	l := evnet.NewLoop()
	here, there := pair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: quiet, WriteTimeout: limit, MaxWriteBuffer: -1})
	_, _ = s.Write(make([]byte, total))
	_ = s.Close()
	l.AfterFunc(limit/3, func() { // after the limit has started
		aside(l, func() {
			n, err := io.Copy(io.Discard, there)
			assert.NoError(t, err)
			assert.EqualValues(t, total, n)
			_ = there.Close()
		})
		time.Sleep(2 * limit)
	})
	run(t, l)
	assert.NoError(t, s.Err())
}

// manyReady checks many sockets that are ready at the same time. None is idle because the loop serves others first,
// and the check for readiness consumes nothing.
var manyReady = map[string]func(t *testing.T){
	"many with a byte": func(t *testing.T) {
		findReady(t, "", func(c *net.TCPConn) { _, _ = c.Write([]byte("x")) })
	},
	"many with a reset": func(t *testing.T) {
		findReady(t, "ECONNRESET", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() })
	},
}

// findReady lets many peers do something while the loop is blocked. Each socket must end because of that.
func findReady(t *testing.T, code string, peer func(c *net.TCPConn)) {
	const many = 600 // more than one epoll wait returns
	l := evnet.NewLoop()
	var here, there []*net.TCPConn
	for range many {
		a, b := pair(t)
		here, there = append(here, a), append(there, b)
	}
	codes := map[string]int{}
	l.AfterFunc(0, func() { // due before any timeout; all sockets are in the epoll set by then
		for _, conn := range there {
			peer(conn)
		}
		time.Sleep(lateFor + lateLimit)
	})
	for _, conn := range here {
		s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, Logger: quiet, IdleTimeout: 2 * lateLimit})
		s.On.Data(func([]byte) { s.Destroy(nil) })
		s.On.Close(func(bool) { codes[evnet.Code(s.Err())]++ })
	}
	run(t, l)
	assert.Equal(t, map[string]int{code: many}, codes)
}

// A handshake that was completed before its deadline succeeds, although the loop processes it late.
func TestLateLoopTakesAHandshakeThatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		server := evnet.NewServer(&evnet.ServerOptions{
			Loops: []*evnet.Loop{l}, Logger: quiet, TLSConfig: selfSigned(), HandshakeTimeout: lateLimit,
		})
		server.On.TLSClientError(func(err error, _ *evnet.Socket) { assert.NoError(t, err); _ = server.Close(nil) })
		connections := 0
		server.On.Connection(func(s *evnet.Socket) { connections++; s.Destroy(nil); _ = server.Close(nil) })
		require.NoError(t, server.Serve(listenerOf(here)))
		var begin func()
		begin = func() {
			if server.Connections() == 0 {
				l.AfterFunc(time.Millisecond, begin)
				return
			}
			go func() {
				c := tls.Client(there, &tls.Config{InsecureSkipVerify: true})
				_ = c.Handshake()
				_, _ = io.Copy(io.Discard, c)
				_ = there.Close()
			}()
			time.Sleep(lateFor)
		}
		begin()
		l.Run()
		assert.Equal(t, 1, connections)
	})
}
