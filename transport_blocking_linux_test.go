package evnet

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"evnet/internal/evtest"
	"evnet/internal/transport"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A descriptor that another holder of it has made blocking, as (*os.File).Fd of a file from (*net.TCPConn).File does. No
// call on it may block the loop, or a goroutine for which closing the conn waits.

// makeBlocking clears O_NONBLOCK of a descriptor.
func makeBlocking(t testing.TB, of syscall.Conn) { setNonblocking(t, of, false) }

func setNonblocking(t testing.TB, of syscall.Conn, nonblocking bool) {
	raw, err := of.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { require.NoError(t, syscall.SetNonblock(int(fd), nonblocking)) }))
}

// blockingMedia make a socket on l, the descriptor below it, and the peer.
var blockingMedia = map[string]func(t *testing.T, l *Loop) (s *Socket, below syscall.Conn, peer net.Conn){
	"tcp": func(t *testing.T, l *Loop) (*Socket, syscall.Conn, net.Conn) {
		here, there := tcpPair(t)
		return onLoop(l, here), here, there
	},
	"unix": func(t *testing.T, l *Loop) (*Socket, syscall.Conn, net.Conn) {
		here, there := unixPair(t)
		return onLoop(l, here), here, there
	},
	"tls": func(t *testing.T, l *Loop) (*Socket, syscall.Conn, net.Conn) {
		here, there := tcpPair(t)
		s := onLoop(l, here)
		require.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
		return s, here, tls.Client(there, evtest.NamedClientConfig())
	},
}

func onBlockingMedia(t *testing.T, fn func(t *testing.T, l *Loop, s *Socket, below syscall.Conn, peer net.Conn)) {
	onEach(t, func(t *testing.T) {
		for name, pair := range blockingMedia {
			t.Run(name, func(t *testing.T) {
				l := NewLoop()
				s, below, peer := pair(t, l)
				defer peer.Close()
				fn(t, l, s, below, peer)
			})
		}
	})
}

func TestBlockingDescriptor_DestroyReturnsWhileThePeerIsSilent(t *testing.T) {
	onBlockingMedia(t, func(t *testing.T, l *Loop, s *Socket, below syscall.Conn, peer net.Conn) {
		var got []byte
		s.On.Data(func(p []byte) {
			got = append(got, p...)
			if len(got) == 1 {
				makeBlocking(t, below)
				_, _ = s.WriteString("x")
			} else {
				// Several turns later, a reader would be in the kernel.
				rounds(t, l, few, func() { s.Destroy(nil) })
			}
		})
		go func() {
			_, _ = peer.Write([]byte("1"))
			_, _ = io.ReadFull(peer, make([]byte, 1))
			_, _ = peer.Write([]byte("2"))
		}()
		runs(t, l)
		assert.Equal(t, "12", string(got))
		assert.True(t, s.Destroyed())
	})
}

func TestBlockingDescriptor_PausedSocketIsDestroyed(t *testing.T) {
	onBlockingMedia(t, func(t *testing.T, l *Loop, s *Socket, below syscall.Conn, peer net.Conn) {
		s.On.Data(func(p []byte) {
			makeBlocking(t, below)
			s.Pause()
			rounds(t, l, few, func() { s.Destroy(nil) })
		})
		go func() { _, _ = peer.Write([]byte("1")) }()
		runs(t, l)
		assert.True(t, s.Destroyed())
	})
}

func TestBlockingDescriptor_WriteDoesNotStopTheLoop(t *testing.T) {
	onBlockingMedia(t, func(t *testing.T, l *Loop, s *Socket, below syscall.Conn, peer net.Conn) {
		read := make(chan struct{})
		received := make(chan []byte, 1)
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // more than the kernel buffers
		s.On.Data(func([]byte) {
			makeBlocking(t, below)
			_, _ = s.Write(want)
			s.End()
			rounds(t, l, few, func() { close(read) })
		})
		go func() {
			_, _ = peer.Write([]byte("1"))
			<-read
			got, _ := io.ReadAll(peer)
			received <- got
			_ = peer.Close()
		}()
		runs(t, l)
		assert.True(t, bytes.Equal(want, <-received))
	})
}

// Data that is piped in large pieces is copied instead of moved by splice, which has no flag against blocking.
func TestBlockingDescriptor_PipeDoesNotStopTheLoop(t *testing.T) {
	onPoll(t)
	for name, block := range map[string]func(t *testing.T, from, to syscall.Conn){
		"source":      func(t *testing.T, from, _ syscall.Conn) { makeBlocking(t, from) },
		"destination": func(t *testing.T, _, to syscall.Conn) { makeBlocking(t, to) },
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			from, sender := tcpPair(t)
			to, receiver := tcpPair(t)
			source, destination := onLoop(l, from), onLoop(l, to)
			source.Pipe(destination)
			spliced := transport.Spliced.Load()
			want := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
			go func() {
				_, _ = sender.Write(want[:len(want)/2])
				block(t, from, to)
				_, _ = sender.Write(want[len(want)/2:])
				_ = sender.CloseWrite()
			}()
			received := make(chan []byte, 1)
			go func() {
				got := make([]byte, len(want)/2)
				_, _ = io.ReadFull(receiver, got)
				turned := make(chan struct{}) // the loop makes turns while nothing is received
				l.Post(func() { rounds(t, l, few, func() { close(turned) }) })
				<-turned
				rest, _ := io.ReadAll(receiver)
				received <- append(got, rest...)
				_ = receiver.Close()
			}()
			runs(t, l)
			assert.True(t, bytes.Equal(want, <-received))
			assert.Positive(t, transport.Spliced.Load()-spliced, "the first half is spliced")
		})
	}
}

func TestBlockingDescriptor_SendingAFileDoesNotHoldTheSocket(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := tcpPair(t)
		makeBlocking(t, here)
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, make([]byte, 16<<20), 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		s := onLoop(l, here)
		copied := make(chan error, 1)
		go func() { _, err := s.ReadFrom(file); copied <- err }()
		go func() {
			_, _ = io.ReadFull(there, make([]byte, 1<<20))
			l.Post(func() { rounds(t, l, few, func() { s.Destroy(nil) }) })
		}()
		runs(t, l)
		assert.Error(t, <-copied)
	})
}
