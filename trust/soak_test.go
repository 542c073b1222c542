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

// soak is how much of it.
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

// Many connections open at once, messages to and fro on all of them while both ends pause, resume, cork,
// change consumers and end in different orders: at the end each has got exactly what the other has sent.
// The clients are a process of their own, for one may not have as many descriptors as both need.
func TestSoak(t *testing.T) {
	for _, transport := range []string{"poll", "goroutine"} {
		t.Run(transport, func(t *testing.T) {
			use(t, transport == "poll")
			soakServer(t, transport, soakSize(), seedOf(t))
		})
	}
}

// bath is the server of the soak.
type bath struct {
	mu      sync.Mutex
	most    int               // connections at once
	digests map[string]string // by who has connected
	errors  []string
}

func soakServer(t *testing.T, transport string, size soak, seed uint64) {
	goroutines, open := goleak.IgnoreCurrent(), descriptors()
	began := time.Now()
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	b := &bath{digests: map[string]string{}}
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

	cmd := play("soak clients", noDelay, "EVNET_TRANSPORT="+transport, fmt.Sprintf("%s=%s %d %d %d", soakVariable, address, size.conns, size.exchanges, seed))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	hung := time.AfterFunc(size.patience, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	told := map[string]string{}
	summary := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		who, what, _ := strings.Cut(lines.Text(), " ")
		if who == "summary" {
			summary = what
		} else {
			told[who] = what
		}
	}
	assert.NoError(t, cmd.Wait(), "the clients' process")

	assert.NoError(t, server.Close(nil))
	stuck := time.AfterFunc(patience/2, server.CloseAllConnections)
	running.Wait()
	assert.True(t, stuck.Stop(), "connections are left")
	assert.Empty(t, b.errors)
	assert.Equal(t, size.conns, b.most, "connections open at once")
	require.Len(t, told, size.conns)
	require.Len(t, b.digests, size.conns)
	var bytes uint64
	for who, digest := range told {
		require.Equal(t, digest, b.digests[who], "connection %s: what the client and the server have sent and got", who)
		var up, down uint64
		_, err := fmt.Sscanf(strings.NewReplacer(":", " ").Replace(digest), "%d %s %d", &up, new(string), &down)
		require.NoError(t, err)
		bytes += up + down
	}
	leftNothing(t, goroutines, open)
	if evtest.Long() && !race.Enabled {
		assert.Less(t, peakRSS(), map[string]int{"poll": 300, "goroutine": 1500}[transport], "MB of the server: four and three times what it takes")
	}
	t.Logf("%d connections at once, %s, %d MB, %.1f s, peak RSS of the server %d MB", b.most, summary, bytes>>20, time.Since(began).Seconds(), peakRSS())
}

// accepted serves one connection, once its hello has come.
func (b *bath) accepted(s *evnet.Socket, rng *rand.Rand) {
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
	took := func(p []byte) {
		st.noteGot(p)
		e.mayPause()
		p = p[:min(uint64(len(p)), left)]
		if left -= uint64(len(p)); len(p) == 0 {
			return
		}
		st.noteSent(p)
		if h.manner == byPipe && begun {
			return // which writes it itself, and ends
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
		took(p)
		begun = true
		if err := e.consume(h.manner, took); err != nil {
			fail(err)
		}
	})
	if err != nil {
		fail(err)
	}
	s.On.End(func() {
		if left > 0 {
			fail(fmt.Errorf("%d bytes were to come before the end", left))
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
