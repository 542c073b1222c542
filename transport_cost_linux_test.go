package evnet

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"evnet/internal/evtest"
	"evnet/internal/netpoll"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An idle socket needs no goroutine and no buffer.
func TestIdleSocketsCostNothing(t *testing.T) {
	onPoll(t)
	const idle = 1000
	conns, peers := make([]net.Conn, idle), make([]net.Conn, idle)
	for i := range conns {
		conns[i], peers[i] = unixPair(t)
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	goroutines, memory := runtime.NumGoroutine(), heap()
	l := NewLoop()
	sockets := make([]*Socket, idle)
	received := 0
	for i, conn := range conns {
		s := onLoop(l, conn)
		s.On.Data(func([]byte) {
			if received++; received == idle { // each socket was used, and all are idle again
				assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+1) // the watchdog of runs
				assert.Less(t, (heap()-memory)/idle, int64(4<<10), "bytes each")
				for _, s := range sockets {
					s.Destroy(nil)
				}
			}
		})
		_, _ = s.WriteString("x")
		_, err := peers[i].Write([]byte("x"))
		require.NoError(t, err)
		sockets[i] = s
	}
	runs(t, l)
	assert.Equal(t, idle, received)
}

// An idle BlockingConn needs no goroutine either. It has no buffer, because it reads nothing ahead.
func TestBlockingConn_CostsNothingIdle(t *testing.T) {
	onPoll(t)
	const idle = 500
	l := NewLoop()
	views, peers := make([]net.Conn, idle), make([]net.Conn, idle)
	for i := range views {
		var here net.Conn
		here, peers[i] = unixPair(t)
		var err error
		views[i], err = onLoop(l, here).BlockingConn()
		require.NoError(t, err)
	}
	l.Ref()
	goroutines := runtime.NumGoroutine()
	go func() {
		defer l.Unref()
		one := make([]byte, 1)
		for i, c := range views { // each has been used in both directions
			_, err := peers[i].Write(make([]byte, 2*maxChunk))
			assert.NoError(t, err)
			_, err = c.Read(one)
			assert.NoError(t, err)
			_, err = c.Write(one)
			assert.NoError(t, err)
		}
		assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+2, "this one and the watchdog of runs")
		assert.LessOrEqual(t, l.Buffered(), int64(idle*maxChunk), "at most one chunk each")
		for _, c := range views {
			_ = c.Close()
		}
		for _, peer := range peers {
			_ = peer.Close()
		}
	}()
	runs(t, l)
}

// workers returns the number of goroutines that run on behalf of the loop.
func workers(l *Loop) int {
	core := reflect.ValueOf(l.core()).Elem()
	mu := (*sync.Mutex)(core.FieldByName("mu").Addr().UnsafePointer())
	mu.Lock()
	defer mu.Unlock()
	return int(core.FieldByName("workers").Int())
}

// A TLS socket has one goroutine while it reads, none while it is paused, and another one while bytes are queued. That
// is so on Linux too, where the loop serves the same conn without TLS itself.
func TestTLS_Goroutines(t *testing.T) {
	onPoll(t)
	here, there := tcpPair(t)
	peer := tls.Server(there, evtest.ServerConfig())
	l := NewLoop()
	s := Wrap(here, &SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig()})
	until := func(want int, then func()) func() {
		var look func()
		look = func() {
			if workers(l) == want {
				then()
			} else {
				l.AfterFunc(time.Millisecond, look)
			}
		}
		return look
	}
	read := make(chan struct{})
	s.On.Error(func(err error) { t.Error(err) })
	s.On.SecureConnect(until(1, func() { // no consumer: one chunk may be read
		s.On.Data(func([]byte) {
			until(1, func() { // idle
				s.Pause()
				until(0, func() {
					_, err := s.Write(make([]byte, 64<<20))
					assert.NoError(t, err)
					until(1, func() { // the writer
						s.Resume()
						until(2, func() { close(read) })()
					})()
				})()
			})()
		})
		l.Ref()
		go func() { _, _ = peer.Write([]byte("x")); l.Unref() }()
	}))
	s.On.Drain(until(1, func() { s.Destroy(nil) }))
	assert.Zero(t, workers(l))
	done := make(chan struct{})
	go func() {
		defer close(done)
		assert.NoError(t, peer.Handshake())
		evtest.WaitFor(t, "the writer", read)
		_, _ = io.Copy(io.Discard, peer)
	}()
	runs(t, l)
	<-done
}

// The epoll descriptor of a loop is closed when it has no kernel socket.
func TestEpoll_DescriptorIsReleased(t *testing.T) {
	onPoll(t)
	before := pollers(t)
	use := func(l *Loop) *Socket {
		here, _ := unixPair(t)
		return onLoop(l, here)
	}

	l := NewLoop()
	assert.Equal(t, before, pollers(t), "no descriptor without a socket")
	one, two := use(l), use(l)
	assert.Equal(t, before+1, pollers(t), "one descriptor for all sockets")
	one.Destroy(nil)
	assert.Equal(t, before+1, pollers(t))
	two.Destroy(nil)
	assert.Equal(t, before, pollers(t), "the loop does not run")
	three := use(l)
	done := make(chan struct{})
	go func() { three.Destroy(nil); close(done) }()
	<-done
	assert.Equal(t, before, pollers(t), "from another goroutine")

	for range 3 {
		s := use(l)
		l.Post(func() { s.Destroy(nil) })
		runs(t, l)
		assert.Equal(t, before, pollers(t), "Run has returned")
	}

	s := use(l)
	l.Post(func() { panic("x") })
	assert.Panics(t, func() { runs(t, l) })
	assert.Equal(t, before+1, pollers(t), "a socket is left")
	s.Destroy(nil)
	assert.Equal(t, before, pollers(t))
	runs(t, l)

	s = use(l)
	s.Unref()
	runs(t, l)
	assert.True(t, s.Destroyed())
	assert.Equal(t, before, pollers(t), "Run has destroyed the unreferenced sockets")

	here, _ := unixPair(t)
	s = onLoop(l, here)
	l.Post(func() {
		_, _, err := s.Detach()
		assert.NoError(t, err)
	})
	runs(t, l)
	assert.Equal(t, before, pollers(t), "the conn was detached")
}

// The tests below pin the size of a socket and the cost of a message. A change that lowers a figure lowers its pin too.

// A Socket has 256 bytes on 64-bit systems, which is a size class of the allocator.
func TestSocket_Size(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("pinned for 64-bit systems")
	}
	assert.LessOrEqual(t, unsafe.Sizeof(Socket{}), uintptr(256), "bytes")
}

// echoes are the ways to echo whose cost the tests pin.
var echoes = map[string]func(s *Socket){
	"OnRead": func(s *Socket) { _ = s.OnRead(func(p []byte) bool { _, _ = s.Write(p); return true }) },
	"Data":   func(s *Socket) { s.On.Data(func(p []byte) { _, _ = s.Write(p) }) },
}

// The number of messages before counting starts, so that buffers exist, and the number of counted messages.
const warmUp, counted = 100, 2000

// echo sends a message back and forth between two TCP sockets on one loop, of which server echoes. It calls begin and
// end on the loop, around the messages that are counted.
func echo(t *testing.T, listen func(server *Socket), begin func(server, client *Socket), end func()) {
	a, b := tcpPair(t)
	l := NewLoop()
	server, client := onLoop(l, a), onLoop(l, b)
	listen(server)
	message := make([]byte, 64)
	left := warmUp + counted
	require.NoError(t, client.OnRead(func(p []byte) bool {
		if len(p) != len(message) { // no assertion: it would allocate
			t.Errorf("%d bytes were echoed", len(p))
		}
		switch left--; left {
		case counted:
			begin(server, client)
		case 0:
			end()
			client.Destroy(nil)
			server.Destroy(nil)
			return true
		}
		_, _ = client.Write(message)
		return true
	}))
	_, err := client.Write(message)
	require.NoError(t, err)
	runs(t, l)
	require.Zero(t, left)
}

// On the epoll transport an echoed message allocates nothing with OnRead, and its chunk with Data. On the goroutine
// transport each of the two Writes allocates once more.
func TestMessage_Allocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	onEach(t, func(t *testing.T) {
		for name, want := range map[string]uint64{"OnRead": 0, "Data": 1} {
			t.Run(name, func(t *testing.T) {
				if !netpoll.Enabled {
					want += 2
				}
				var before, after runtime.MemStats
				echo(t, echoes[name],
					func(_, _ *Socket) { runtime.ReadMemStats(&before) },
					func() { runtime.ReadMemStats(&after) })
				// The runtime allocates a little meanwhile, but not for each message.
				assert.LessOrEqual(t, (after.Mallocs-before.Mallocs)/counted, want, "allocations per message")
			})
		}
	})
}

// countingConn counts the calls on a descriptor.
type countingConn struct {
	syscall.RawConn
	calls *int
}

func (c countingConn) Control(fn func(fd uintptr)) error {
	*c.calls++
	return c.RawConn.Control(fn)
}

// countCalls counts the calls that the stream of s makes on its descriptor.
func countCalls(s *Socket, calls *int) {
	field := reflect.ValueOf(&s.stream).Elem().FieldByName("raw")
	raw := (*syscall.RawConn)(field.Addr().UnsafePointer())
	*raw = countingConn{*raw, calls}
}

// ioCalls returns how many read and write calls the process has made so far. It fails if the kernel does not count them.
func ioCalls() (calls int, err error) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	var rchar, wchar, syscr, syscw int
	_, err = fmt.Sscanf(string(data), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\n", &rchar, &wchar, &syscr, &syscw)
	return syscr + syscw, err
}

// On the epoll transport a message costs its receiver one read and its sender one write. There is no further call on the
// descriptor, such as epoll_ctl, and no other read or write. The number of epoll_wait calls depends on the load.
func TestMessage_SystemCalls(t *testing.T) {
	onPoll(t)
	for name, listen := range echoes {
		t.Run(name, func(t *testing.T) {
			onDescriptors, before, after := 0, 0, 0
			var err error
			echo(t, listen, func(server, client *Socket) {
				for _, s := range []*Socket{server, client} {
					countCalls(s, &onDescriptors)
				}
				before, err = ioCalls()
			}, func() { after, _ = ioCalls() })
			assert.LessOrEqual(t, onDescriptors, 4*counted+2, "calls on the descriptors, at both ends")
			if race.Enabled {
				return // the calls that order events for the race detector count too
			}
			if err != nil {
				t.Skip("the kernel does not count: ", err)
			}
			// Reading the count takes a few reads, and the runtime may wake itself.
			assert.LessOrEqual(t, (after-before)/counted, 4, "reads and writes per message, at both ends")
		})
	}
}
