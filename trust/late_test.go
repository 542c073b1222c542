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

// What is in time although the loop is late: a limit that is up while a callback holds the loop up cuts
// nobody off whose bytes were there before.

const (
	lateLimit = 500 * time.Millisecond
	lateFor   = 2 * lateLimit
)

// late is a server whose loop stands still from Connection on, until the peer has done its part and the limit
// is up.
type late struct {
	options evnet.ServerOptions
	here    func(s *evnet.Socket) // in Connection
	bytes   int                   // that the peer sends before it ends
}

// What is late on a loop that stands still costs nobody its connection.
func TestLateLoop(t *testing.T) {
	alternately(t, 0, func(t *testing.T) {
		plays := map[string]func(*testing.T){"a peer that reads": spareReader}
		maps.Copy(plays, cutNobodyOff)
		if netpoll.Enabled {
			maps.Copy(plays, findManyReady)
		}
		together(t, plays)
	})
}

// cutNobodyOff are limits that are up while the loop stands still.
var cutNobodyOff = map[string]func(t *testing.T){
	"the first byte": late{options: evnet.ServerOptions{FirstByteTimeout: lateLimit}, bytes: 5}.play,
	"after silence":  late{options: evnet.ServerOptions{IdleTimeout: lateLimit}, bytes: 5}.play,
	"an answer and its end": late{
		options: evnet.ServerOptions{CloseTimeout: lateLimit}, here: (*evnet.Socket).End, bytes: 40_000,
	}.play,
}

// play lets the loop stand still in Connection.
func (b late) play(t *testing.T) {
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
		l.AfterFunc(0, func() { // when it has begun
			_, err := there.Write(block[:b.bytes]) // the system holds it
			assert.NoError(t, err)
			assert.NoError(t, there.Close())
			time.Sleep(lateFor)
		})
	})
	require.NoError(t, server.Serve(give(here)))
	run(t, l)
	assert.Equal(t, b.bytes, got)
	assert.True(t, ended)
}

// spareReader: a peer that reads all that the kernel has while a callback holds the loop up is not cut off, though the
// socket has had nothing to send meanwhile.
func spareReader(t *testing.T) {
	const limit, total = 600 * time.Millisecond, 32 << 20
	l := evnet.NewLoop()
	here, there := pair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: quiet, WriteTimeout: limit, MaxWriteBuffer: -1})
	_, _ = s.Write(make([]byte, total))
	_ = s.Close()
	l.AfterFunc(limit/3, func() { // the limit has begun
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

// findManyReady: of many that are ready at once, nobody is idle because others are served first, and looking whether one is
// takes nothing away.
var findManyReady = map[string]func(t *testing.T){
	"many with a byte": func(t *testing.T) {
		findReady(t, "", func(c *net.TCPConn) { _, _ = c.Write([]byte("x")) })
	},
	"many with a reset": func(t *testing.T) {
		findReady(t, "ECONNRESET", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() })
	},
}

// findReady lets many peers do something while the loop stands still, and wants each socket to end by that.
func findReady(t *testing.T, code string, peer func(c *net.TCPConn)) {
	const many = 600 // more than one look at the set finds
	l := evnet.NewLoop()
	var here, there []*net.TCPConn
	for range many {
		a, b := pair(t)
		here, there = append(here, a), append(there, b)
	}
	codes := map[string]int{}
	l.AfterFunc(0, func() { // due before any timeout, and all are in the set by then
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

// A handshake that was done in time is done, though its socket hears so late.
func TestLateLoopTakesAHandshakeThatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		server := evnet.NewServer(&evnet.ServerOptions{
			Loops: []*evnet.Loop{l}, Logger: quiet, TLSConfig: selfSigned(), HandshakeTimeout: lateLimit,
		})
		server.On.TLSClientError(func(err error, _ *evnet.Socket) { assert.NoError(t, err); _ = server.Close(nil) })
		told := 0
		server.On.Connection(func(s *evnet.Socket) { told++; s.Destroy(nil); _ = server.Close(nil) })
		require.NoError(t, server.Serve(give(here)))
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
		assert.Equal(t, 1, told)
	})
}
