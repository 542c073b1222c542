package evnet

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Closing a server whose listener blocks does not stop the loop.

// blockingListeners make listeners of the kinds that a server accepts from.
var blockingListeners = map[string]func(t *testing.T) net.Listener{
	"tcp": func(t *testing.T) net.Listener { return listenOn(t, "tcp", "127.0.0.1:0") },
	"unix": func(t *testing.T) net.Listener {
		return listenOn(t, "unix", filepath.Join(t.TempDir(), "s"))
	},
	"embedded": func(t *testing.T) net.Listener {
		return struct{ *net.TCPListener }{listenOn(t, "tcp", "127.0.0.1:0").(*net.TCPListener)}
	},
}

func listenOn(t *testing.T, network, address string) net.Listener {
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	return ln
}

// passToProcess starts a program that inherits the listener, and ends immediately.
func passToProcess(t *testing.T, ln net.Listener) {
	file, err := ln.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	defer file.Close()
	program := exec.Command("true")
	program.ExtraFiles = []*os.File{file}
	require.NoError(t, program.Run())
}

func TestServerClose_AfterAProcessInheritedTheListener(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for name, listener := range blockingListeners {
			t.Run(name, func(t *testing.T) {
				l := NewLoop()
				ln := listener(t)
				s := NewServer(&ServerOptions{Loops: []*Loop{l}})
				closed := false
				s.On.Close(func() { closed = true })
				served := 0
				s.On.Connection(func(c *Socket) {
					c.Destroy(nil)
					if served++; served == 3 {
						rounds(t, l, few, func() { assert.NoError(t, s.Close(nil)) })
					}
				})
				require.NoError(t, s.Serve(ln))
				passToProcess(t, ln)
				go func() {
					for range 3 {
						c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
						if assert.NoError(t, err) {
							_, _ = io.Copy(io.Discard, c)
							_ = c.Close()
						}
					}
				}()
				runs(t, l)
				assert.True(t, closed)
				assert.Equal(t, 3, served)
			})
		}
	})
}

// A goroutine of the program may block in Accept of the listener, so that Close of the listener waits for it.
func TestServerClose_DoesNotWaitForAnAcceptThatBlocksInTheKernel(t *testing.T) {
	onEach(t, func(t *testing.T) {
		accept, known := map[string]int{"386": 102, "amd64": 288, "arm64": 242}[runtime.GOARCH] // accept4, or socketcall
		if !known {
			t.Skip("the number of the system call is not known")
		}
		l := NewLoop()
		ln := listenOn(t, "tcp", "127.0.0.1:0")
		makeBlocking(t, ln.(syscall.Conn))
		thread := make(chan int)
		accepted := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			thread <- syscall.Gettid()
			c, err := ln.Accept()
			if err == nil {
				err = c.Close()
			}
			accepted <- err
		}()
		awaitCall(t, <-thread, accept)

		s := NewServer(&ServerOptions{Loops: []*Loop{l}})
		require.NoError(t, s.Serve(ln))
		closed := false
		s.On.Close(func() { closed = true })
		dialed := make(chan net.Conn, 1)
		l.Post(func() {
			assert.NoError(t, s.Close(nil))
			assert.False(t, s.Listening())
			rounds(t, l, few, func() {
				assert.False(t, closed, "the listener is not closed")
				c, err := net.Dial("tcp", ln.Addr().String())
				assert.NoError(t, err)
				dialed <- c
			})
		})
		runs(t, l)
		assert.NoError(t, <-accepted)
		assert.True(t, closed)
		_ = (<-dialed).Close()
	})
}

// awaitCall waits until a thread is in a system call.
func awaitCall(t *testing.T, thread int, call int) {
	for {
		state, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(thread) + "/syscall")
		if err != nil {
			t.Skip("the kernel does not show system calls: ", err)
		}
		if number, _, _ := strings.Cut(string(state), " "); number == strconv.Itoa(call) {
			return
		}
		runtime.Gosched()
	}
}

// stuckListener is a listener whose Close waits.
type stuckListener struct {
	*evtest.MemoryListener
	release chan struct{}
}

func (l stuckListener) Close() error {
	<-l.release
	return l.MemoryListener.Close()
}

func TestServerClose_DoesNotWaitForACustomListener(t *testing.T) {
	l := NewLoop()
	ln := stuckListener{evtest.NewMemoryListener(), make(chan struct{})}
	s := NewServer(&ServerOptions{Loops: []*Loop{l}})
	require.NoError(t, s.Serve(ln))
	closed := false
	s.On.Close(func() { closed = true })
	l.Post(func() {
		assert.NoError(t, s.Close(nil))
		rounds(t, l, few, func() {
			assert.False(t, closed)
			close(ln.release)
		})
	})
	runs(t, l)
	assert.True(t, closed)
}

func TestServer_Listener(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": evtest.SocketPath(t)} {
			t.Run(network, func(t *testing.T) {
				l := NewLoop()
				s := NewServer(&ServerOptions{Loops: []*Loop{l}})
				assert.Nil(t, s.Listener())
				require.NoError(t, s.Listen(network, address, nil))
				ln := s.Listener()
				assert.Equal(t, s.Address(), ln.Addr())
				passToProcess(t, ln)
				s.On.Connection(func(c *Socket) { // the acceptor has set O_NONBLOCK again
					c.Destroy(nil)
					assert.NoError(t, s.Close(nil))
				})
				c, err := net.Dial(network, ln.Addr().String())
				require.NoError(t, err)
				defer c.Close()
				runs(t, l)
				assert.Nil(t, s.Listener())

				given := evtest.NewMemoryListener()
				require.NoError(t, s.Serve(given))
				assert.Same(t, given, s.Listener())
				require.NoError(t, s.Close(nil))
				runs(t, l)
			})
		}
	})
}

func TestServer_ListenerKeepsItsSocketFile(t *testing.T) {
	path := evtest.SocketPath(t)
	l := NewLoop()
	s := NewServer(&ServerOptions{Loops: []*Loop{l}})
	require.NoError(t, s.Listen("unix", path, nil))
	s.Listener().(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	require.NoError(t, s.Close(nil))
	runs(t, l)
	assert.FileExists(t, path)
	require.NoError(t, s.Listen("unix", path, nil), "the file is replaced")
	require.NoError(t, s.Close(nil))
	runs(t, l)
	assert.NoFileExists(t, path)
}

// countingListener counts the calls of Accept. In each, the server has taken over the conns of the calls before.
type countingListener struct {
	*net.TCPListener
	calls atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	l.calls.Add(1)
	return l.TCPListener.Accept()
}

// If the program closes the listener, connections that are already accepted are served.
func TestServer_ListenerClosedByTheProgramServesWhatIsAccepted(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const clients = 20
		l := NewLoop()
		s := NewServer(&ServerOptions{Loops: []*Loop{l}})
		served := 0
		s.On.Connection(func(c *Socket) {
			served++
			c.On.Data(func(p []byte) { _, _ = c.Write(p) })
		})
		var failure error
		s.On.Error(func(err error) { failure = err })
		ln := &countingListener{TCPListener: listenOn(t, "tcp", "127.0.0.1:0").(*net.TCPListener)}
		require.NoError(t, s.Serve(ln))
		got := make(chan error, clients)
		for range clients {
			c, err := net.Dial("tcp", s.Address().String())
			require.NoError(t, err)
			go func() {
				defer c.Close()
				_, err := c.Write([]byte("x"))
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
				}
				got <- err
			}()
		}
		for ln.calls.Load() <= clients { // the loop does not run yet
			runtime.Gosched()
		}
		require.NoError(t, s.Listener().Close())
		runs(t, l)
		for range clients {
			assert.NoError(t, <-got)
		}
		assert.Equal(t, clients, served)
		assert.ErrorIs(t, failure, net.ErrClosed)
	})
}
