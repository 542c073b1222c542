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

// Whatever a program does to a socket, in whatever callback or goroutine, and whatever its peer does: the events keep
// their order, and no byte is lost, duplicated or reordered. Each callback of a write runs once and in order. Run
// returns with nothing left behind.
func TestGrammar(t *testing.T) {
	checkEach(t, "connections", runGrammar,
		"Chunks", "TLS", "a callback of a refused write", "a conn detached", "a refused write", "an end on both sides",
		"an error that lost queued bytes", "bytes put back", "drain", "end", "error", "finish", "much data", "no handshake",
		"no Connect event", "several attempts", "timeout")
}

// enoughChecks is the number of rapid's checks in the long form, unless -rapid.checks says otherwise. It is four
// times the number of the short form, which does not require every feature. The rarest required feature occurs in 2 %
// of the runs. With this many checks, it is missed less than once in ten million runs.
const enoughChecks = 800

// checkEach runs check on each transport, and logs how often each feature occurred. If it makes enoughChecks runs or
// more, every feature in must has to occur.
func checkEach(t *testing.T, of string, check func(testing.TB, *rapid.T, map[string]int), must ...string) {
	onEach(t, func(t *testing.T) {
		seen, runs := map[string]int{}, 0
		rapid.Check(t, func(rt *rapid.T) { check(t, rt, seen); runs++ })
		for _, what := range slices.Sorted(maps.Keys(seen)) {
			t.Logf("%6d %s with %s", seen[what], of, what)
		}
		for _, what := range must {
			assert.True(t, seen[what] > 0 || runs < enoughChecks, "no %s with %s", of, what)
		}
	})
}

// FuzzOperations runs the same checks on either transport, with random choices from the bytes that a fuzzer mutates.
func FuzzOperations(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) {
			use(t, rapid.Bool().Draw(rt, "epoll transport"))
			runGrammar(t, rt, map[string]int{})
		})(t, input)
	})
}

// letters are the events of a connection, one letter each.
const letters = "lookup k, attempt a, connect c, ready r, data d, drain n, secureConnect s, timeout t, end e, finish f, error x, close z"

// Data that was written before the connection was made is sent between Connect and Ready. Drain and Finish may
// therefore be emitted between them.
var (
	grammar   = regexp.MustCompile(`^t*k*[at]*(c[nft]*(r[dnteft]*)?)?x?z$`)
	overTLS   = regexp.MustCompile(`^t*k*[at]*(c[t]*(r[t]*(s[dnteft]*)?)?)?x?z$`)
	handshake = regexp.MustCompile(`^t*(s[dnteft]*)?x?z$`) // for a wrapped conn
	connected = regexp.MustCompile(`^[dnteft]*x?z$`)       // for a socket that was connected when it was made
	twice     = regexp.MustCompile(`e.*[de]|f.*f`)
)

// recordEvents records every event.
func (m *machine) recordEvents() {
	note := func(letter string) func() {
		return func() { m.conn().events += letter; m.inCallback() }
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

func runGrammar(t testing.TB, rt *rapid.T, seen map[string]int) {
	m := &machine{l: evnet.NewLoop(), t: t, plan: drawPlan(rt)}
	details := fmt.Sprintf("%+v", *m.plan)
	m.start()
	hung := time.AfterFunc(patience, func() {
		panic(fmt.Sprintf("Run does not return\nplan %s\nleft %v, settling %v, busy %v, again %v\nevents %s\nstate %v, paused %v, queued %d",
			details, m.plan.ops, m.settling, m.busy, m.again, m.conn().events, m.s.ReadyState(), m.s.Paused(), m.s.BufferedAmount()))
	})
	m.l.Run()
	hung.Stop()
	m.stop()
	if m.s == nil { // a failed handshake does not count as a connection
		seen["no handshake"]++
		return
	}
	for i, c := range m.conns {
		if why := c.violation(m.plan); why != "" {
			rt.Fatalf("connection %d: %s\nevents %s (%s)\nsent %d, got %d, accepted %d, received %d; error %v",
				i, why, c.events, letters, c.sent, len(c.got), c.accepted, len(c.received), m.s.Err())
		}
		for _, what := range c.features(m.plan) {
			seen[what]++
		}
	}
}

// violation describes what is wrong with a connection, or returns "".
func (c *connection) violation(p *plan) string {
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
		return "the argument of Close is wrong"
	case !c.hadError && !c.closeRequested && (count("e") == 0 || count("f") == 0):
		return "it was closed before both sides had ended"
	case !c.dropped && !isPattern(c.got, incoming, 0):
		return "the delivered data differs from what was sent"
	case len(c.got) > sent:
		return "more was delivered than was sent"
	case count("e") == 1 && !c.dropped && len(c.got) != sent:
		return "End was emitted before all data was delivered"
	case c.problem != "":
		return c.problem
	case slices.Contains(c.called, false):
		return "a callback of a write has not run"
	case !p.echo && !isPattern(c.received, outgoing, 0) || p.echo && !isPattern(c.received, incoming, 0):
		return "the peer received data that was not written"
	case !p.echo && len(c.received) > all:
		return "the peer received more than was written"
	case c.whole() && !p.echo && len(c.received) != all:
		return "the peer did not receive everything"
	case c.whole() && p.echo && count("e") == 1 && !c.dropped && len(c.received) != sent:
		return "not everything was sent back"
	}
	return ""
}

// whole reports whether the peer must have received everything: this side has finished and closed without an error,
// and the peer has read to the end.
func (c *connection) whole() bool {
	return strings.Contains(c.events, "f") && !c.hadError && !c.cut && c.peerRead
}

// features lists the features that occurred on a connection. A test must cover the important ones often.
func (c *connection) features(p *plan) []string {
	list := slices.Sorted(maps.Keys(c.noted))
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
		list = append(list, "no Connect event")
	}
	if len(c.got) > 100_000 || len(c.received) > 100_000 {
		list = append(list, "much data")
	}
	if c.hadError && len(c.received) < c.accepted {
		list = append(list, "an error that lost queued bytes")
	}
	return append(list, "anything")
}

// isPattern reports whether p is the pattern of that kind, starting at from.
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

// patternAt returns a byte of a text, so that encodings do not change it, with a long period.
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
