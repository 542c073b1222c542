package kit

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
)

// Bubble is a socket over net.Pipe and its blocking peer, under the fake clock of a synctest bubble.
type Bubble struct {
	*testing.T
	L     *evnet.Loop
	S     *evnet.Socket
	Peer  net.Conn
	Began time.Time
	At    []time.Duration // the time of each Timeout
	check func()          // at the end
}

func InBubble(t *testing.T, opts evnet.SocketOptions, play func(b *Bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &Bubble{T: t, L: evnet.NewLoop(), Began: time.Now()}
		var here net.Conn
		here, b.Peer = net.Pipe()
		opts.Loop = b.L
		b.S = evnet.Wrap(here, &opts)
		b.S.On.Timeout(func() { b.At = append(b.At, b.Now()) })
		b.S.On.Error(func(error) {})
		play(b)
		Run(t, b.L)
		_ = b.Peer.Close()
		if b.check != nil {
			b.check()
		}
	})
}

func (b *Bubble) Finally(check func()) { b.check = check }

func (b *Bubble) Now() time.Duration { return time.Since(b.Began) }

// When runs fn on the loop at the given time. Run does not return before that.
func (b *Bubble) When(at time.Duration, fn func()) { b.L.AfterFunc(at-b.Now(), fn) }

func (b *Bubble) DestroyAt(at time.Duration) { b.When(at, func() { b.S.Destroy(nil) }) }
