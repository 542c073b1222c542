package evnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Relay, called on another goroutine, forwards data that arrives after it has joined the first socket and before
// the second.
func TestRelayLosesNothingHalfWay(t *testing.T) {
	for name, consume := range map[string]func(s *Socket) error{
		"onread": func(s *Socket) error { return s.OnRead(func([]byte) bool { return true }) },
		"scan":   func(s *Socket) error { return s.Scan(nil, 0, func([]byte) {}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			aConn, aPeer := net.Pipe()
			bConn, bPeer := net.Pipe()
			a, b := Wrap(aConn, &SocketOptions{Loop: l}), Wrap(bConn, &SocketOptions{Loop: l})
			require.NoError(t, consume(a))
			for range 2 {
				l.Ref()
			}
			l.Post(func() {
				b.mu.Lock() // Relay stops here, with a joined
				go func() {
					defer l.Unref()
					Relay(a, b, nil)
				}()
				go func() {
					defer l.Unref()
					for joined := false; !joined; {
						a.mu.Lock()
						joined = a.opt().relay != nil
						a.mu.Unlock()
					}
					_, _ = io.WriteString(aPeer, "one")
					for a.BytesRead() < 3 {
						runtime.Gosched()
					}
					l.Do(func() {}) // the data was delivered or buffered
					b.mu.Unlock()
					_, _ = io.WriteString(aPeer, "two")
					got := make([]byte, 6)
					_, err := io.ReadFull(bPeer, got)
					assert.NoError(t, err)
					assert.Equal(t, "onetwo", string(got))
					_ = aPeer.Close()
					_ = bPeer.Close()
				}()
			})
			l.Run()
		})
	}
}

// A socket that ends and closes before Relay, on another goroutine, has linked it still ends the other socket.
func TestRelayPassesTheEndHalfWay(t *testing.T) {
	l := NewLoop()
	aConn, aPeer := net.Pipe()
	bConn, bPeer := net.Pipe()
	defer bPeer.Close()
	a, b := Wrap(aConn, &SocketOptions{Loop: l}), Wrap(bConn, &SocketOptions{Loop: l})
	r := &relay{loop: l, pending: 1}
	r.join(a)
	r.join(b)
	a.link(&pipe{src: a, dst: b, sock: b, relay: r})
	_ = aPeer.Close()
	b.On.Close(func(bool) {
		b.link(&pipe{src: b, dst: a, sock: a, relay: r})
		r.closed()
	})
	l.Run()
	cause, _ := r.failed()
	assert.NoError(t, cause)
}

// A reader that another goroutine starts meanwhile reads nothing after Detach: the owner of the conn gets all
// later data.
func TestDetachIsTheOnlyReader(t *testing.T) {
	for range 300 {
		l := NewLoop()
		here, there := net.Pipe()
		s := Wrap(here, &SocketOptions{Loop: l})
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for range 3 {
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						s.mu.Lock()
						if s.stream.IsOpen() && s.in.started {
							s.stream.SetReading(true) // as in Chunks, and when a consumer is removed
						}
						s.mu.Unlock()
						runtime.Gosched()
					}
				}
			})
		}
		var conn net.Conn
		l.Post(func() {
			l.Post(func() {
				var rest []byte
				var err error
				for conn == nil && (err == nil || errors.Is(err, errReaderStuck)) { // the reader was not scheduled for a second
					conn, rest, err = s.Detach()
				}
				close(stop)
				assert.NoError(t, err)
				assert.Empty(t, rest)
				s.Destroy(nil) // if Detach has failed
			})
		})
		l.Run()
		busy.Wait()
		require.NotNil(t, conn)
		go func() { _, _ = io.WriteString(there, "mine"); _ = there.Close() }()
		got, _ := io.ReadAll(conn)
		require.True(t, bytes.Equal([]byte("mine"), got), "%q", got)
		_ = conn.Close()
	}
}
