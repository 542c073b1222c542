package trust

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// Whatever a program does to a socket, in whatever callback or goroutine, and whatever its peer does,
// the events keep their order, no byte is lost, doubled or moved, each callback of a write comes once
// and in order, and Run returns with nothing left behind.
func TestGrammar(t *testing.T) {
	checkEach(t, "connections", playGrammar,
		"Chunks", "TLS", "a callback of a refused write", "a conn detached", "a refused write", "an end on both sides",
		"an error that lost queued bytes", "bytes put back", "drain", "end", "error", "finish", "much data", "no handshake",
		"no success", "several attempts", "timeout")
}

// enoughChecks is how often rapid plays in the long form, unless -rapid.checks says otherwise: four times as often as in the
// short one, which does not require every kind of play. The rarest of what must be come across
// is met in 2 % of the plays, and so missed in so many of them less than once in ten million runs.
const enoughChecks = 800

// checkEach plays on each transport, and tells how much of what was come across.
func checkEach(t *testing.T, of string, play func(testing.TB, *rapid.T, map[string]int), must ...string) {
	onEach(t, func(t *testing.T) {
		seen, plays := map[string]int{}, 0
		rapid.Check(t, func(rt *rapid.T) { play(t, rt, seen); plays++ })
		for _, what := range slices.Sorted(maps.Keys(seen)) {
			t.Logf("%6d %s with %s", seen[what], of, what)
		}
		for _, what := range must {
			assert.True(t, seen[what] > 0 || plays < enoughChecks, "no %s with %s", of, what)
		}
	})
}

// FuzzOperations is the same, on either transport, from the bytes that a fuzzer mutates.
func FuzzOperations(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) {
			use(t, rapid.Bool().Draw(rt, "by readiness"))
			playGrammar(t, rt, map[string]int{})
		})(t, input)
	})
}

// The events of a connection, a letter each.
const letters = "lookup k, attempt a, connect c, ready r, data d, drain n, secureConnect s, timeout t, end e, finish f, error x, close z"

// A drain, and the end of this side, may come with what was written before the connection was made,
// which leaves between Connect and Ready.
var (
	grammar   = regexp.MustCompile(`^t*k*[at]*(c[nft]*(r[dnteft]*)?)?x?z$`)
	overTLS   = regexp.MustCompile(`^t*k*[at]*(c[t]*(r[t]*(s[dnteft]*)?)?)?x?z$`)
	handshake = regexp.MustCompile(`^t*(s[dnteft]*)?x?z$`) // of a wrapped conn
	connected = regexp.MustCompile(`^[dnteft]*x?z$`)       // already, when the socket was made
	twice     = regexp.MustCompile(`e.*[de]|f.*f`)
)

// attend notes every event.
func (m *machine) attend() {
	note := func(letter string) func() {
		return func() { m.conn().events += letter; m.inside() }
	}
	on := m.s.On
	on.Lookup(func(evnet.Lookup) { note("k")() })
	on.ConnectionAttempt(func(evnet.Attempt) { note("a")() })
	on.ConnectionAttemptFailed(func(evnet.Attempt, error) { note("a")() })
	on.ConnectionAttemptTimeout(func(evnet.Attempt) { note("a")() })
	on.Connect(note("c"))
	on.Ready(note("r"))
	on.SecureConnect(note("s"))
	on.Drain(note("n"))
	on.Timeout(note("t"))
	on.End(note("e"))
	on.Finish(note("f"))
	on.Error(func(error) { note("x")() })
	on.Close(func(hadError bool) {
		m.conn().hadError = hadError
		note("z")()
		m.closed()
	})
}

func playGrammar(t testing.TB, rt *rapid.T, seen map[string]int) {
	m := &machine{l: evnet.NewLoop(), t: t, plan: drawPlan(rt)}
	told := fmt.Sprintf("%+v", *m.plan)
	m.start()
	hung := time.AfterFunc(patience, func() {
		panic(fmt.Sprintf("Run does not return\nplan %s\nleft %v, settling %v, busy %v, again %v\nevents %s\nstate %v, paused %v, queued %d",
			told, m.plan.ops, m.settling, m.busy, m.again, m.conn().events, m.s.ReadyState(), m.s.Paused(), m.s.BufferedAmount()))
	})
	m.l.Run()
	hung.Stop()
	m.stop()
	if m.s == nil { // a handshake has failed, which is no connection
		seen["no handshake"]++
		return
	}
	for i, c := range m.conns {
		if why := c.wrong(m.plan); why != "" {
			rt.Fatalf("connection %d: %s\nevents %s (%s)\nsent %d, got %d, accepted %d, received %d; error %v",
				i, why, c.events, letters, c.sent, len(c.got), c.accepted, len(c.received), m.s.Err())
		}
		for _, what := range c.features(m.plan) {
			seen[what]++
		}
	}
}

// wrong says what of a connection is not as it must be.
func (c *connection) wrong(p *plan) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := func(letter string) int { return strings.Count(c.events, letter) }
	sent, all := c.sent, c.accepted
	if p.echo {
		all = len(c.got)
	}
	order := connected
	switch {
	case p.kind == "connecting" && p.secure:
		order = overTLS
	case p.kind == "connecting":
		order = grammar
	case p.kind == "wrapped" && p.secure:
		order = handshake
	}
	switch {
	case !order.MatchString(c.events), twice.MatchString(c.events):
		return "the events are out of order"
	case c.hadError != (count("x") == 1):
		return "Close's argument"
	case !c.hadError && !c.asked && (count("e") == 0 || count("f") == 0):
		return "it was closed before both sides had ended"
	case !c.dropped && !isPattern(c.got, incoming, 0):
		return "what was delivered is not what was sent"
	case len(c.got) > sent:
		return "more was delivered than was sent"
	case count("e") == 1 && !c.dropped && len(c.got) != sent:
		return "End came, but not everything before it"
	case c.doneWrong != "":
		return c.doneWrong
	case slices.Contains(c.told, false):
		return "a callback of a write has not run"
	case !p.echo && !isPattern(c.received, outgoing, 0) || p.echo && !isPattern(c.received, incoming, 0):
		return "the peer received what was not written"
	case !p.echo && len(c.received) > all:
		return "the peer received more than was written"
	case c.whole() && !p.echo && len(c.received) != all:
		return "the peer did not receive everything"
	case c.whole() && p.echo && count("e") == 1 && !c.dropped && len(c.received) != sent:
		return "not everything was sent back"
	}
	return ""
}

// whole reports whether the peer must have received everything: this side has finished and closed in
// peace, and the peer has read to the end.
func (c *connection) whole() bool {
	return strings.Contains(c.events, "f") && !c.hadError && !c.cut && c.peerRead
}

// features are what a test must come across often to be worth its time.
func (c *connection) features(p *plan) []string {
	list := slices.Sorted(maps.Keys(c.met))
	if p.secure && strings.ContainsAny(c.events, "def") {
		list = append(list, "TLS")
	}
	for letter, what := range map[string]string{"n": "drain", "t": "timeout", "e": "end", "f": "finish", "x": "error", "aa": "several attempts"} {
		if strings.Contains(c.events, letter) {
			list = append(list, what)
		}
	}
	if strings.Contains(c.events, "e") && strings.Contains(c.events, "f") && !c.hadError {
		list = append(list, "an end on both sides")
	}
	if !strings.Contains(c.events, "c") && strings.Contains(c.events, "k") {
		list = append(list, "no success")
	}
	if len(c.got) > 100_000 || len(c.received) > 100_000 {
		list = append(list, "much data")
	}
	if c.hadError && len(c.received) < c.accepted {
		list = append(list, "an error that lost queued bytes")
	}
	return append(list, "anything")
}

// isPattern reports whether p is a piece of the endless text of that kind.
func isPattern(p []byte, kind, from int) bool {
	for i, b := range p {
		if b != patternAt(kind, from+i) {
			return false
		}
	}
	return true
}

const (
	incoming = 3
	outgoing = 5
)

// patternAt is text, so that encodings leave it as it is, and repeats late.
func patternAt(kind, i int) byte {
	return "\nabcdefghijklmnopqrstuvwxyz "[(i*kind+i>>8*7+i>>16)%28]
}

func pattern(kind, from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = patternAt(kind, from+i)
	}
	return p
}
