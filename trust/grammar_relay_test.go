package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"evnet"

	"pgregory.net/rapid"
)

// However two sockets enter a Relay, and whatever their peers do: each peer receives what the other has sent, all of
// it if it sees an end. done runs once, after both sockets have closed.
func TestGrammarOfRelays(t *testing.T) {
	must := []string{"a failure", "an end by the program", "an end in both directions", "much data"}
	for _, entry := range entries {
		must = append(must, "entry by "+entry)
	}
	checkEach(t, "relays", runRelay, must...)
}

// side is one of the two sockets of a relay, with its peer.
type side struct {
	network, origin string
	secure, tight   bool
	halfOpen        bool
	mark, limit     int
	peer            peerPlan

	s                  *evnet.Socket
	conn               *connection
	dialled, connected bool
}

// entries are what a program does with a socket before the relay. What it reads, it writes to the other socket.
var entries = []string{"nothing", "later", "paused", "data", "bytes put back", "scan", "on read", "chunks"}

type relayPlan struct {
	sides      [2]*side
	loops      int
	entry      string
	n          int    // the number that the entry needs, and the time of the disturbance
	disturbed  string // how the program ends one of the two; "" if it does not
	disturbing int    // which of the two it ends
}

func drawSide(t *rapid.T, label string) *side {
	of := func(what string, list ...string) string { return rapid.SampledFrom(list).Draw(t, label+what) }
	s := &side{
		network:  of("network", "tcp", "tcp", "tcp", "unix", "pipe"),
		origin:   of("origin", "wrapped", "wrapped", "dialled"),
		secure:   rapid.IntRange(0, 4).Draw(t, label+"secure") == 0,
		tight:    rapid.Bool().Draw(t, label+"tight"),
		halfOpen: rapid.Bool().Draw(t, label+"half open"),
		conn:     &connection{},
		mark:     rapid.SampledFrom([]int{0, -1, 1, 1000}).Draw(t, label+"mark"),
		limit:    rapid.SampledFrom(limits).Draw(t, label+"limit"),
	}
	s.peer = drawPeer(t, label)
	return s
}

func drawRelay(t *rapid.T) *relayPlan {
	p := &relayPlan{
		sides:      [2]*side{drawSide(t, "a "), drawSide(t, "b ")},
		loops:      rapid.IntRange(1, 2).Draw(t, "loops"),
		entry:      rapid.SampledFrom(entries).Draw(t, "entry"),
		n:          rapid.IntRange(0, 3000).Draw(t, "n"),
		disturbed:  rapid.SampledFrom([]string{"", "", "", "", "", "", "destroy", "destroy with an error", "reset"}).Draw(t, "disturbed"),
		disturbing: rapid.IntRange(0, 1).Draw(t, "disturbing"),
	}
	a, b := p.sides[0], p.sides[1]
	if p.entry != "nothing" { // else an end before the relay closes the socket
		a.halfOpen, b.halfOpen = true, true
	}
	// The two peers must not wait for each other forever, nor for a relay that waits for a's first byte or end.
	if b.peer.reader == "late" {
		a.peer.reader = "all"
	}
	waits := slices.Index(entries, p.entry) > slices.Index(entries, "paused")
	if a.peer.finale == "wait" && (b.peer.finale == "wait" || waits) {
		a.peer.finale = "end"
	}
	return p
}

func runRelay(t testing.TB, rt *rapid.T, seen map[string]int) {
	p := drawRelay(rt)
	details := fmt.Sprintf("%+v %+v %+v", *p, *p.sides[0], *p.sides[1])
	loops := [2]*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	if p.loops == 1 {
		loops[1] = loops[0]
	}
	var peers sync.WaitGroup
	m := &machine{t: t}
	for i, s := range p.sides {
		m.plan = &plan{network: s.network, kind: "wrapped", secure: s.secure}
		here, there := m.pair()
		there = m.secured(there)
		if s.tight {
			tighten(here)
		}
		options := evnet.SocketOptions{
			Loop: loops[i], Logger: quiet, AllowHalfOpen: s.halfOpen, HighWaterMark: s.mark, MaxWriteBuffer: s.limit,
		}
		if s.secure {
			options.TLSConfig = &tls.Config{InsecureSkipVerify: true}
		}
		if s.origin == "dialled" {
			options.Dial = func(context.Context, string, string) (net.Conn, error) { s.dialled = true; return here, nil }
			m.cleanup = append(m.cleanup, func() {
				if !s.dialled {
					_ = here.Close()
				}
			})
			s.s = evnet.NewSocket(&options)
			s.s.On.Connect(func() { s.connected = true })
			s.s.Connect("tcp", "127.0.0.1:1")
		} else {
			s.s = evnet.Wrap(here, &options)
			s.connected = true
		}
		peers.Go(func() { s.peer.run(there, s.conn, s.tight) })
	}
	done, closes := []error(nil), 0
	var mu sync.Mutex
	for _, s := range p.sides {
		s.s.On.Close(func(bool) { mu.Lock(); closes++; mu.Unlock() })
	}
	a, b := p.sides[0].s, p.sides[1].s
	p.enter(loops[0], a, b, sync.OnceFunc(func() {
		evnet.Relay(a, b, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if done = append(done, err); closes != 2 {
				done = append(done, errors.New("done ran before both had closed"))
			}
		})
		p.disturb()
	}))

	hung := bound(t, "Run does not return\nplan "+details)
	var other sync.WaitGroup
	if p.loops == 2 {
		other.Go(loops[1].Run)
	}
	loops[0].Run()
	other.Wait()
	m.stop()
	peers.Wait()
	hung.Stop()

	if len(done) != 1 {
		rt.Fatalf("done was called with %v, after %d Close events", done, closes)
	}
	for i, to := range p.sides {
		from := p.sides[1-i]
		if why := p.violation(from, to, done[0]); why != "" {
			rt.Fatalf("from %d: %s\nsent %d, received %d; done %v\n%s", 1-i, why, from.conn.sent, len(to.conn.received), done[0], details)
		}
		if len(to.conn.received) > 100_000 {
			seen["much data"]++
		}
	}
	switch {
	case done[0] == nil:
		seen["an end in both directions"]++
	case p.disturbed != "":
		seen["an end by the program"]++
	default:
		seen["a failure"]++
	}
	seen["entry by "+p.entry]++
	seen["anything"]++
}

// enter does the entry's part before the relay. It starts the relay when a has ended, at the latest.
func (p *relayPlan) enter(l *evnet.Loop, a, b *evnet.Socket, begin func()) {
	if p.entry != "nothing" {
		a.On.End(begin)
		a.On.Close(func(bool) { begin() })
	}
	pass := func(token []byte) { _, _ = b.Write(token) }
	switch p.entry {
	case "nothing":
		begin()
	case "later":
		l.AfterFunc(time.Duration(p.n)*time.Microsecond, begin)
	case "paused":
		a.Pause()
		l.AfterFunc(time.Duration(p.n)*time.Microsecond, begin)
	case "data":
		a.Once.Data(func(chunk []byte) { pass(chunk); begin() })
	case "bytes put back":
		a.Once.Data(func(chunk []byte) {
			n := min(p.n, len(chunk))
			pass(chunk[:n])
			_ = a.Unshift(chunk[n:])
			begin()
		})
	case "scan":
		_ = a.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
			if n := p.n%50 + 1; len(data) >= n {
				return n, data[:n], nil
			} else if atEOF && len(data) > 0 {
				return len(data), data, nil
			}
			return 0, nil, nil
		}, 100, func(token []byte) { pass(token); begin() })
	case "on read":
		_ = a.OnRead(func(chunk []byte) bool { pass(chunk); begin(); return true })
	case "chunks":
		aside(l, func() {
			left := p.n % 3
			for chunk, err := range a.Chunks() {
				if err != nil {
					break
				}
				pass(chunk)
				if left--; left < 0 || p.sides[1].limit > 0 { // the limit may refuse the next one
					break
				}
			}
			begin()
		})
	}
}

// disturb makes the program end one of the two sockets after some time.
func (p *relayPlan) disturb() {
	s := p.sides[p.disturbing].s
	if p.disturbed == "" {
		return
	}
	s.Loop().AfterFunc(time.Duration(p.n/2)*time.Microsecond, func() {
		switch p.disturbed {
		case "destroy":
			s.Destroy(nil)
		case "destroy with an error":
			s.Destroy(io.ErrNoProgress)
		case "reset":
			s.Reset()
		}
	})
}

// violation describes what is wrong with one direction, or returns "".
func (p *relayPlan) violation(from, to *side, cause error) string {
	got := to.conn.received
	resets := to.network == "tcp" && to.connected // its peer can distinguish a cut from an end; package tls cannot
	destroyed := p.disturbed == "destroy" || p.disturbed != "" && p.sides[p.disturbing] == to
	switch whole := to.conn.peerRead && !to.conn.cut; {
	case !isPattern(got, incoming, 0):
		return "the received data differs from what was sent"
	case len(got) > from.conn.sent && !from.conn.cut: // a write that failed may have sent some
		return "more was received than was sent"
	case whole && len(got) != from.conn.sent && cause == nil:
		return "not everything was relayed"
	case whole && len(got) != from.conn.sent && resets && !destroyed:
		return "a truncated stream was reported as complete"
	}
	return ""
}
