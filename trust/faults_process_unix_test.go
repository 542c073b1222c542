//go:build unix

package trust

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	roles["talker"] = func() { // writes and reads endlessly
		c, err := net.Dial("tcp", os.Args[1])
		check(err)
		go func() { _, _ = io.Copy(io.Discard, c) }()
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	roles["reader"] = func() { // prints the hash of what it has read
		c, err := net.Dial("tcp", os.Args[1])
		check(err)
		sum := sha256.New()
		_, err = io.Copy(sum, c)
		check(err)
		fmt.Printf("%x", sum.Sum(nil))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// If a peer's process is killed while data flows both ways, the socket reports one end or one reset, and nothing is
// left behind.
func TestFaultsPeerIsKilled(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		events := ""
		var server *evnet.Server
		child := childCommand("talker")
		server, address := serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
			_ = server.Close(nil)
			s.Pipe(s)
			once := false
			s.On.Data(func([]byte) {
				if !once && s.BytesRead() > 1<<20 {
					once = true
					assert.NoError(t, child.Process.Kill())
				}
			})
			s.On.Error(func(err error) {
				events += "error "
				assert.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
			})
			s.On.Close(func(bool) { events += "close" })
		})
		child.Args = append(child.Args, address)
		require.NoError(t, child.Start())
		run(t, l)
		_ = child.Wait()
		assert.Regexp(t, "^(error )?close$", events)
	})
}

// A peer whose process is stopped reads nothing. The queue does not grow beyond its limit, and Timeout is emitted.
// When the process continues, everything arrives.
func TestFaultsPeerIsStopped(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const limit = 1 << 20
		l := evnet.NewLoop()
		child := childCommand("reader")
		sum := sha256.New()
		var server *evnet.Server
		stopped, timeouts := false, 0
		server, address := serve(t, l, evnet.ServerOptions{MaxWriteBuffer: limit}, func(s *evnet.Socket) {
			_ = server.Close(nil)
			assert.NoError(t, child.Process.Signal(syscall.SIGSTOP))
			p := pattern(outgoing, 0, 64<<10)
			write := func() {
				for {
					_, err := s.Write(p)
					if err != nil {
						stopped = true
						assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
						assert.True(t, s.NeedDrain())
						assert.LessOrEqual(t, s.BufferedAmount(), limit+len(p))
						_ = s.SetTimeout(50 * time.Millisecond)
						return
					}
					sum.Write(p)
				}
			}
			s.On.Timeout(func() {
				if timeouts++; timeouts == 1 {
					assert.NoError(t, child.Process.Signal(syscall.SIGCONT))
					s.End()
				}
			})
			write()
		})
		child.Args = append(child.Args, address)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		defer func() { _ = child.Process.Kill() }()
		run(t, l)
		got, err := io.ReadAll(out)
		require.NoError(t, err)
		require.NoError(t, child.Wait())
		assert.True(t, stopped)
		assert.GreaterOrEqual(t, timeouts, 1)
		assert.Equal(t, fmt.Sprintf("%x", sum.Sum(nil)), string(got))
	})
}
