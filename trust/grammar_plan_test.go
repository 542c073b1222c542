package trust

import (
	"slices"
	"time"

	"evnet"

	"pgregory.net/rapid"
)

// plan is what happens in one run.
type plan struct {
	kind     string // how the socket gets its conn
	network  string
	secure   bool // with TLS; an accepted socket is the TLS server
	tight    bool
	echo     bool
	connects int
	hosts    []string // addresses of the name; none: the socket connects to an address
	options  evnet.SocketOptions
	ops      []operation
	finale   string

	peer peerPlan
}

type peerPlan struct {
	steps  []peerStep
	reader string
	finale string
}

type peerStep struct {
	what string
	n    int
}

// limits are for MaxWriteBuffer.
var limits = []int{0, 0, 1, 1, 1000, 20_000}

func drawPlan(t *rapid.T) *plan {
	of := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(t, label) }
	p := &plan{
		kind:    of("kind", "wrapped", "accepted", "accepted", "connecting", "connecting"),
		network: of("network", "tcp", "tcp", "unix", "pipe"),
		tight:   rapid.Bool().Draw(t, "tight"),
		echo:    rapid.IntRange(0, 4).Draw(t, "echo") == 0,
		finale:  of("finale", finales...),
	}
	if p.network == "pipe" {
		p.kind = "wrapped"
	}
	secure := rapid.IntRange(0, 3).Draw(t, "secure")
	p.secure = secure == 0 || secure == 1 && p.kind == "accepted" // some of them fail in the handshake
	p.connects = 1
	if p.kind == "connecting" && p.network == "tcp" {
		p.connects = rapid.IntRange(1, 2).Draw(t, "connects")
		if p.echo {
			p.connects = 1
		}
		if rapid.Bool().Draw(t, "by name") {
			p.hosts = rapid.SliceOfN(rapid.SampledFrom([]string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"}), 1, 4).Draw(t, "hosts")
		}
	}
	p.options.AllowHalfOpen = rapid.Bool().Draw(t, "half open")
	p.options.HighWaterMark = rapid.SampledFrom([]int{0, -1, 1, 1000}).Draw(t, "mark")
	p.options.MaxWriteBuffer = rapid.SampledFrom(limits).Draw(t, "limit")
	p.options.IdleTimeout = rapid.SampledFrom([]time.Duration{0, 0, 0, 0, 0, 2 * time.Millisecond}).Draw(t, "idle")
	p.options.CloseTimeout = rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, 20 * time.Millisecond}).Draw(t, "closing")
	p.ops = rapid.SliceOfN(drawOperation(operations), 0, 20).Draw(t, "ops")
	p.peer = drawPeer(t, "")
	if p.finale == "wait" && p.peer.finale == "wait" {
		p.peer.finale = "end"
	}
	if p.echo { // it only echoes, so that the returned data is known
		if p.finale != "destroy" && p.finale != "reset" {
			p.finale = "wait"
		}
		p.peer.finale = "end"
		if p.peer.reader == "late" {
			p.peer.reader = "bits" // else each side would wait until the other reads
		}
		p.ops = slices.DeleteFunc(p.ops, func(op operation) bool {
			return slices.Contains([]string{"end", "close", "no consumer", "unshift", "chunks", "detach"}, op.what)
		})
	}
	return p
}

// drawPeer draws what the peer of one connection does.
func drawPeer(t *rapid.T, label string) (p peerPlan) {
	step := rapid.Custom(func(t *rapid.T) peerStep {
		n := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 9000), rapid.IntRange(1, 200_000)).Draw(t, "n")
		whats := []string{"write", "write", "write", "write", "write", "yield", "yield", "end", "reset", "close"}
		return peerStep{rapid.SampledFrom(whats).Draw(t, "what"), n}
	})
	p.steps = rapid.SliceOfN(step, 0, 8).Draw(t, label+"peer")
	p.reader = rapid.SampledFrom([]string{"all", "all", "bits", "late"}).Draw(t, label+"peer reads")
	p.finale = rapid.SampledFrom([]string{"end", "end", "wait", "close", "reset"}).Draw(t, label+"peer's finale")
	return p
}
