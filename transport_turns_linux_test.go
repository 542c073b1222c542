package evnet

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// epoll reports an unhandled event again in each wait. None of these events may keep the loop busy.

// A paused socket is not served, whatever arrives.
func TestPausedSocketIsNotServed(t *testing.T) {
	onPoll(t)
	for name, act := range map[string]func(peer *net.TCPConn){
		"data":     func(peer *net.TCPConn) { _, _ = peer.Write(make([]byte, 1000)) },
		"end":      func(peer *net.TCPConn) { _ = peer.CloseWrite() },
		"data end": func(peer *net.TCPConn) { _, _ = peer.Write([]byte("x")); _ = peer.CloseWrite() },
		"closed":   func(peer *net.TCPConn) { _ = peer.Close() },
		"data reset": func(peer *net.TCPConn) {
			_, _ = peer.Write([]byte("x"))
			_ = peer.SetLinger(0)
			_ = peer.Close()
		},
	} {
		for _, ended := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				l := NewLoop()
				here, peer := tcpPair(t)
				s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true})
				s.On.Data(func([]byte) {})
				s.Pause()
				if ended {
					s.End()
				}
				rounds(t, l, 3, func() {
					act(peer)
					rounds(t, l, many, func() {
						assert.False(t, s.Destroyed())
						s.Destroy(nil)
					})
				})
				assert.LessOrEqual(t, runCounting(t, l)[s], few)
			})
		}
	}
}

// The same applies to a socket without a consumer, which buffers one chunk.
func TestUnreadSocketIsNotServed(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	here, peer := tcpPair(t)
	s := onLoop(l, here)
	go func() { // more than the chunk and the kernel's buffers
		_, _ = peer.Write(make([]byte, 32<<20))
	}()
	rounds(t, l, many, func() {
		assert.LessOrEqual(t, s.BytesRead(), int64(maxChunk))
		s.Destroy(nil)
	})
	assert.LessOrEqual(t, runCounting(t, l)[s], few)
}

// A socket with an empty queue is not served, even if the queue had to wait for room before.
func TestDrainedSocketIsNotServed(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	here, peer := unixPair(t)
	require.NoError(t, here.SetWriteBuffer(64<<10))
	s := onLoop(l, here)
	s.On.Data(func([]byte) {})
	_, err := s.Write(make([]byte, 1<<20)) // more than the kernel accepts
	require.NoError(t, err)
	require.True(t, s.NeedDrain())
	served, before := map[*Socket]int{}, 0
	s.On.Drain(func() {
		before = served[s]
		rounds(t, l, many, func() { s.Destroy(nil) })
	})
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	countServed(t, l, served)
	assert.Positive(t, before)
	assert.LessOrEqual(t, served[s]-before, few)
}

// A paused socket reports a reset if no bytes precede the reset.
func TestPausedSocketSeesReset(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, ended := range []bool{false, true} {
			l := NewLoop()
			here, peer := tcpPair(t)
			s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true})
			s.On.Error(func(error) {})
			s.On.Data(func([]byte) {})
			s.Pause()
			if ended {
				s.End()
			}
			rounds(t, l, 3, func() {
				_ = peer.SetLinger(0)
				_ = peer.Close()
			})
			runs(t, l)
			assert.ErrorIs(t, s.Err(), syscall.ECONNRESET)
		}
	})
}

// Unpipe does not undo Pause: that would read a chunk, or emit the peer's end.
func TestPausedSocketStaysSoAfterUnpipe(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, last := range []string{"", "last "} {
			l := NewLoop()
			here, peer := tcpPair(t)
			s := onLoop(l, here)
			got := ""
			s.On.Data(func(p []byte) { got += string(p) })
			s.On.End(func() { got += "end" })
			s.Pipe(io.Discard)
			s.Pause()
			s.Unpipe(nil)
			_, _ = io.WriteString(peer, last)
			_ = peer.Close()
			rounds(t, l, 10, func() {
				assert.Zero(t, s.BytesRead())
				assert.Empty(t, got)
				s.Resume()
			})
			runs(t, l)
			assert.Equal(t, last+"end", got)
		}
	})
}

// The socket has read the end and its own side is open. A hang-up of the peer does not need service.
func TestHalfOpenSocketIsNotServed(t *testing.T) {
	onPoll(t)
	for name, pair := range map[string]func() (net.Conn, net.Conn){
		"tcp":  func() (net.Conn, net.Conn) { a, b := tcpPair(t); return a, b },
		"unix": func() (net.Conn, net.Conn) { a, b := unixPair(t); return a, b },
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			here, peer := pair()
			s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true})
			s.On.Data(func([]byte) {})
			s.On.End(func() {
				rounds(t, l, many, func() { s.Destroy(nil) })
			})
			require.NoError(t, peer.Close())
			assert.LessOrEqual(t, runCounting(t, l)[s], few)
		})
	}
}

// The peer of a Pipe's source has closed while the destination is full: the end waits until it can be forwarded.
func TestBlockedPipeIsNotServed(t *testing.T) {
	onPoll(t)
	for name, vanish := range map[string]func(peer *net.TCPConn){
		"end":   func(peer *net.TCPConn) { _ = peer.Close() },
		"reset": func(peer *net.TCPConn) { _ = peer.SetLinger(0); _ = peer.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			from, fromPeer := tcpPair(t)
			to, toPeer := unixPair(t)
			src, dst := Wrap(from, &SocketOptions{Loop: l, AllowHalfOpen: true}), onLoop(l, to)
			src.On.Error(func(error) { dst.End() })
			src.End() // together with the peer's end this is a hang-up
			src.Pipe(dst)
			const total = 1 << 20
			var read int64
			l.Ref()
			go func() {
				_, _ = fromPeer.Write(make([]byte, total))
				var full func()
				full = func() {
					src.mu.Lock()
					blocked := src.in.blocked > 0
					src.mu.Unlock()
					if !blocked {
						rounds(t, l, 1, full)
						return
					}
					vanish(fromPeer)
					rounds(t, l, many, func() {
						assert.False(t, src.Destroyed())
						go func() {
							defer l.Unref()
							read, _ = io.Copy(io.Discard, toPeer)
							_ = toPeer.Close()
						}()
					})
				}
				l.Post(full)
			}()
			served := runCounting(t, l)
			if name == "end" {
				assert.EqualValues(t, total, read)
			}
			assert.LessOrEqual(t, served[src], many/2)
		})
	}
}

// EPOLLERR without an error of read or write does not keep the loop busy, and the socket still works. Here an unread
// timestamp on the error queue causes it.
func TestErrorPending_WithoutAReader(t *testing.T) {
	const timestamping, software = 0x25, 1<<1 | 1<<4 | 1<<11 // SO_TIMESTAMPING: software timestamps of sent data, without the data
	for name, paused := range map[string]bool{"reading": false, "paused": true} {
		t.Run(name, func(t *testing.T) {
			onPoll(t)
			l := NewLoop()
			here, peer := tcpPair(t)
			raw, err := here.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, raw.Control(func(fd uintptr) {
				require.NoError(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, timestamping, software))
			}))
			s := onLoop(l, here)
			var got bytes.Buffer
			s.On.Data(func(p []byte) { got.Write(p) })
			if paused {
				s.Pause()
			}
			_, _ = s.WriteString("stamped")
			l.Ref()
			go func() {
				defer l.Unref()
				_, err := io.ReadFull(peer, make([]byte, 7))
				assert.NoError(t, err)
				l.Post(func() {
					rounds(t, l, many, func() {
						s.Resume()
						_, _ = peer.Write([]byte("and still read"))
						_ = peer.Close()
					})
				})
			}()
			assert.LessOrEqual(t, runCounting(t, l)[s], 2*few)
			assert.Equal(t, "and still read", got.String())
			assert.NoError(t, s.Err())
		})
	}
}

// The same applies while the queue waits for room.
func TestErrorPending_WhileWriting(t *testing.T) {
	const timestamping, software = 0x25, 1<<1 | 1<<4 | 1<<11
	onPoll(t)
	l := NewLoop()
	here, peer := tcpPair(t)
	raw, err := here.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, timestamping, software))
	}))
	s := Wrap(here, &SocketOptions{Loop: l, MaxWriteBuffer: -1})
	s.On.Data(func([]byte) {})
	s.Pause()
	const total = 16 << 20
	_, err = s.Write(make([]byte, total))
	require.NoError(t, err)
	s.End()
	var read int64
	l.Ref()
	rounds(t, l, many, func() {
		go func() {
			defer l.Unref()
			read, _ = io.Copy(io.Discard, peer)
			s.Destroy(nil)
		}()
	})
	served := runCounting(t, l)
	assert.EqualValues(t, total, read)
	assert.LessOrEqual(t, served[s], many/2)
}

// A flood on one socket does not delay other sockets, posted functions, timers and sockets of the goroutine
// transport for long. The test measures the delay in chunks of the flood.
func TestFirehoseLeavesRoom(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	here, hose := unixPair(t)
	chunks := 0
	firehose := onLoop(l, here)
	on := make(chan struct{})
	firehose.On.Data(func([]byte) {
		if chunks++; chunks == 1 {
			close(on)
		}
	})
	go func() {
		p := make([]byte, 1<<20)
		for {
			if _, err := hose.Write(p); err != nil {
				return
			}
		}
	}()

	quietConn, quietPeer := unixPair(t)
	pipeConn, pipePeer := net.Pipe()
	quiet, piped := onLoop(l, quietConn), onLoop(l, pipeConn)
	requested := make(chan int, 1) // the number of chunks at the request
	worst := 0
	for _, s := range []*Socket{quiet, piped} {
		s.On.Data(func(p []byte) {
			if s == quiet {
				worst = max(worst, chunks-<-requested)
			}
			_, _ = s.Write(p)
		})
	}
	timers, posts := 0, 0
	var again func()
	again = func() {
		if timers++; timers < 50 {
			l.Post(func() { posts++ })
			l.AfterFunc(0, again)
		}
	}
	again()
	l.Ref()
	go func() {
		defer l.Unref()
		<-on
		for _, peer := range []net.Conn{quietPeer, pipePeer} {
			answer := make([]byte, 1)
			for range 100 {
				if peer == net.Conn(quietPeer) {
					l.Do(func() {
						requested <- chunks
						_, _ = peer.Write([]byte("?"))
					})
				} else {
					_, _ = peer.Write([]byte("?"))
				}
				_, err := io.ReadFull(peer, answer)
				assert.NoError(t, err)
			}
		}
		l.Do(func() {
			assert.Positive(t, chunks)
			for _, s := range []*Socket{firehose, quiet, piped} {
				s.Destroy(nil)
			}
		})
	}()
	runs(t, l)
	assert.LessOrEqual(t, worst, 3)
	assert.Equal(t, 50, timers)
	assert.Equal(t, 49, posts)
}
