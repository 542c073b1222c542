package trust

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refuser is a peer that answers an upload, and closes the connection with most of the upload unread, which resets it.
type refuser struct {
	conn  net.Conn // what it reads and writes
	below net.Conn // the kernel conn
	clean bool     // it ends its side first
}

// refuse returns when the connection is reset, with all of the answer in the kernel of the other side.
func (r refuser) refuse(t testing.TB, answer []byte) {
	_, err := io.ReadFull(r.conn, make([]byte, 16<<10))
	assert.NoError(t, err)
	_, err = r.conn.Write(answer)
	assert.NoError(t, err)
	if r.clean {
		assert.NoError(t, r.conn.(interface{ CloseWrite() error }).CloseWrite())
	}
	if tcp, ok := r.below.(*net.TCPConn); ok {
		await(t, tcp, func(int) bool { // the reset would discard what is not acknowledged
			_, unacknowledged := netpoll.Progress(tcp)
			return unacknowledged == 0
		})
	}
	_ = r.below.Close()
}

// refusals are the media over which an upload is refused. Each returns a socket, which is not connected until the loop runs,
// and its peer.
var refusals = map[string]func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser){
	"tcp": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser) {
		here, there := roomyPair(t)
		return wrap(l, here), refuser{conn: there, below: there}
	},
	"unix": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser) {
		here, there := unixPair(t)
		require.NoError(t, there.SetWriteBuffer(1<<20))
		return wrap(l, here), refuser{conn: there, below: there}
	},
	"tls": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser) {
		here, there := roomyPair(t)
		opts := &evnet.SocketOptions{Loop: l, Logger: quiet, TLSConfig: evtest.NamedClientConfig()}
		return evnet.Wrap(here, opts), refuser{conn: tls.Server(there, evtest.ServerConfig()), below: there}
	},
	"a conn of the program": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser) {
		here, there := roomyPair(t)
		return wrap(l, struct{ net.Conn }{here}), refuser{conn: there, below: there}
	},
	"a tls.Conn of the program": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, refuser) {
		here, there := roomyPair(t)
		conn := tls.Client(struct{ net.Conn }{here}, evtest.NamedClientConfig())
		return wrap(l, conn), refuser{conn: tls.Server(there, evtest.ServerConfig()), below: there}
	},
}

// roomyPair is a TCP connection whose kernel buffers hold an answer that is not read.
func roomyPair(t testing.TB) (here, there *net.TCPConn) {
	here, there = pair(t)
	require.NoError(t, here.SetReadBuffer(1<<20))
	require.NoError(t, there.SetWriteBuffer(1<<20))
	return here, there
}

// begun calls fn in the first callback in which the socket may be written to.
func begun(l *evnet.Loop, s *evnet.Socket, medium string, fn func()) {
	if medium == "tls" || medium == "a tls.Conn of the program" {
		s.On.SecureConnect(fn)
		return
	}
	l.Post(fn)
}

// blockingConsumer reads from the blocking conn of the socket on a goroutine.
func blockingConsumer(t testing.TB, l *evnet.Loop, s *evnet.Socket, c *collect) {
	conn, err := s.BlockingConn()
	if assert.NoError(t, err) {
		aside(l, func() { _, _ = io.Copy(c, conn) })
	}
}

// A peer that refuses an upload answers and resets the connection. The answer is delivered, and then the failure of the
// writes, or the reset, is reported: over each medium, to each consumer, also if the loop is busy meanwhile.
func TestFaultsAnswerBeforeAFailedWrite(t *testing.T) {
	number := 0
	for medium, make := range inOrder(refusals) {
		for _, size := range []int{5000, 200_000} {
			for _, busy := range []bool{false, true} {
				for name := range inOrder(consumersAndBlocking) {
					number++
					t.Run(medium+"/"+name, func(t *testing.T) {
						alternately(t, number, func(t *testing.T) {
							testRefusal(t, medium, name, make, pattern(incoming, 0, size), busy)
						})
					})
				}
			}
		}
	}
}

var consumersAndBlocking = map[string]bool{"Data": true, "OnRead": true, "Scan": true, "Pipe": true, "Chunks": true, "BlockingConn": true}

func testRefusal(t *testing.T, medium, consumer string, make func(testing.TB, *evnet.Loop) (*evnet.Socket, refuser), answer []byte, busy bool) {
	l := evnet.NewLoop()
	s, peer := make(t, l)
	var c collect
	events, called := "", 0
	s.On.Error(func(error) { events += "error " })
	s.On.Close(func(bool) { events += "close" })
	refused := chan struct{}(nil)
	begun(l, s, medium, func() {
		if consumer == "BlockingConn" {
			blockingConsumer(t, l, s, &c)
		} else {
			consumers[consumer](l, s, &c, func() {})
		}
		s.WriteThen(bytes.Repeat([]byte("upload.."), 1<<20), func(err error) {
			called++
			assert.Error(t, err)
		})
		if busy {
			l.Post(func() { <-refused })
		}
	})
	refused = newRefusal(t, l, peer, answer)
	run(t, l)
	assert.True(t, bytes.Equal(answer, c.got.Bytes()), "%d bytes of %d", c.got.Len(), len(answer))
	assert.Equal(t, "error close", events)
	assert.Equal(t, 1, called)
	err := s.Err()
	assert.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), err)
}

// newRefusal lets the peer refuse the upload, and returns a channel that is closed when it has done so.
func newRefusal(t testing.TB, l *evnet.Loop, peer refuser, answer []byte) chan struct{} {
	done := make(chan struct{})
	aside(l, func() {
		defer close(done)
		peer.refuse(t, answer)
	})
	return done
}
