package trust

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// soak is the size of a soak test.
type soak struct {
	conns, exchanges int // exchanges in all
	patience         time.Duration
}

func soakSize() soak {
	if evtest.Long() {
		return soak{10_000, 1_000_000, 20 * time.Minute}
	}
	return soak{300, 9_000, patience}
}

// Many connections are open at the same time and exchange messages, while both ends pause, resume, cork, change
// consumers and end in different orders. At the end, each side has received exactly what the other side has sent. The
// clients run in their own process, because one process may not have enough descriptors for both ends.
func TestSoak(t *testing.T) {
	for _, transport := range []string{"poll", "goroutine"} {
		t.Run(transport, func(t *testing.T) {
			use(t, transport == "poll")
			soakServer(t, transport, soakSize(), seedOf(t))
		})
	}
}

// soakRecord is what the server of the soak records.
type soakRecord struct {
	mu      sync.Mutex
	most    int               // maximum of simultaneous connections
	digests map[string]string // by the client's id
	errors  []string
}

func soakServer(t *testing.T, transport string, size soak, seed uint64) {
	goroutines, open := goleak.IgnoreCurrent(), descriptors()
	began := time.Now()
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	b := &soakRecord{digests: map[string]string{}}
	var n uint64
	var server *evnet.Server
	server, address := serve(t, nil, evnet.ServerOptions{Loops: loops, AllowHalfOpen: true}, func(s *evnet.Socket) {
		b.mu.Lock()
		n++
		rng := rand.New(rand.NewPCG(seed, n))
		b.most = max(b.most, server.Connections())
		b.mu.Unlock()
		b.accepted(s, rng)
	})
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(l.Run)
	}

	cmd := childCommand("soak clients", noDelay, "EVNET_TRANSPORT="+transport, fmt.Sprintf("%s=%s %d %d %d", soakVariable, address, size.conns, size.exchanges, seed))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	hung := time.AfterFunc(size.patience, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	clientDigests := map[string]string{}
	summary := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, what, _ := strings.Cut(lines.Text(), " ")
		if id == "summary" {
			summary = what
		} else {
			clientDigests[id] = what
		}
	}
	assert.NoError(t, cmd.Wait(), "the clients' process")

	assert.NoError(t, server.Close(nil))
	stuck := time.AfterFunc(patience/2, server.CloseAllConnections)
	running.Wait()
	assert.True(t, stuck.Stop(), "the server still had connections")
	assert.Empty(t, b.errors)
	assert.Equal(t, size.conns, b.most, "simultaneous connections")
	require.Len(t, clientDigests, size.conns)
	require.Len(t, b.digests, size.conns)
	var bytes uint64
	for id, digest := range clientDigests {
		require.Equal(t, digest, b.digests[id], "connection %s: digests of the client and the server", id)
		var up, down uint64
		_, err := fmt.Sscanf(strings.NewReplacer(":", " ").Replace(digest), "%d %s %d", &up, new(string), &down)
		require.NoError(t, err)
		bytes += up + down
	}
	leftNothing(t, goroutines, open)
	if evtest.Long() && !race.Enabled {
		assert.Less(t, peakRSS(), map[string]int{"poll": 300, "goroutine": 1500}[transport], "MB of the server: four and three times the usual peak")
	}
	t.Logf("%d simultaneous connections, %s, %d MB, %.1f s, peak RSS of the server %d MB", b.most, summary, bytes>>20, time.Since(began).Seconds(), peakRSS())
}

// accepted serves one connection. It waits for the hello first.
func (b *soakRecord) accepted(s *evnet.Socket, rng *rand.Rand) {
	e := &erratic{s: s, rng: rng}
	st := newStream()
	var h hello
	left, begun := uint64(helloSize), false
	fail := func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, fmt.Sprintf("connection %d: %v", h.id, err))
		s.Destroy(nil)
	}
	receive := func(p []byte) {
		st.noteGot(p)
		e.mayPause()
		p = p[:min(uint64(len(p)), left)]
		if left -= uint64(len(p)); len(p) == 0 {
			return
		}
		st.noteSent(p)
		if h.manner == byPipe && begun {
			return // the pipe writes the echo and ends the socket
		}
		if err := e.write(p); err != nil {
			fail(err)
		}
		if s.NeedDrain() {
			e.hold()
			s.Once.Drain(e.release)
		}
		if left == 0 && !h.late {
			s.End()
		}
	}
	err := s.Scan(messages, 4+maxMessage, func(p []byte) {
		var ok bool
		if h, ok = parseHello(p); !ok {
			fail(fmt.Errorf("no hello: %q", p))
			return
		}
		left = h.echo
		receive(p)
		begun = true
		if err := e.consume(h.manner, receive); err != nil {
			fail(err)
		}
	})
	if err != nil {
		fail(err)
	}
	s.On.End(func() {
		if left > 0 {
			fail(fmt.Errorf("the end arrived %d bytes too early", left))
		}
		if h.manner != byPipe {
			s.End()
		}
	})
	s.On.Error(fail)
	s.On.Close(func(bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.digests[fmt.Sprint(h.id)] = st.digest(false)
	})
}
