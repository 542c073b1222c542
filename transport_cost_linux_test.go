package evnet

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An idle socket costs no goroutine and no buffer.
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
	heard := 0
	for i, conn := range conns {
		s := onLoop(l, conn)
		s.On.Data(func([]byte) {
			if heard++; heard == idle { // each was used, and all are idle again
				assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+1) // the watchman of runs
				assert.Less(t, (heap()-memory)/idle, int64(minBuffer), "bytes each")
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
	assert.Equal(t, idle, heard)
}

// The descriptor of a loop goes with what it is for.
func TestEpollDescriptorGoes(t *testing.T) {
	onPoll(t)
	before := pollers(t)
	use := func(l *Loop) *Socket {
		here, _ := unixPair(t)
		return onLoop(l, here)
	}

	l := NewLoop()
	assert.Equal(t, before, pollers(t), "none without a socket")
	one, two := use(l), use(l)
	assert.Equal(t, before+1, pollers(t), "one for all of them")
	one.Destroy(nil)
	assert.Equal(t, before+1, pollers(t))
	two.Destroy(nil)
	assert.Equal(t, before, pollers(t), "nobody runs the loop")
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
	assert.Equal(t, before, pollers(t), "Run has destroyed what is not referenced")

	here, _ := unixPair(t)
	s = onLoop(l, here)
	l.Post(func() {
		_, _, err := s.Detach()
		assert.NoError(t, err)
	})
	runs(t, l)
	assert.Equal(t, before, pollers(t), "the conn was given away")
}
