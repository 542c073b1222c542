package trust

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// Every method may be called from any goroutine, at any time. Here eight goroutines call them while a connection is
// made, used and closed.
func TestEverywhereConcurrently(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for range 20 {
			p, connect := newPlace(t, nil)
			p.l.Ref()
			connect()
			var callers sync.WaitGroup
			start := make(chan struct{})
			for i := range 8 {
				callers.Go(func() {
					<-start
					for range 2 {
						for _, m := range methods {
							for name, call := range m.calls {
								switch {
								case name == "Run" || name == "Serve" || name == "Unref" && m.of != nil || name == "RemoveAllListeners":
								case i > 0 && (name == "Chunks" || name == "Shutdown"): // these block
								case i < 7 && (name == "Close" || name == "Destroy" || name == "Reset" || name == "End" || name == "Detach" || strings.HasPrefix(name, "StartTLS") || name == "CloseAllConnections"):
								default:
									call(p)
								}
							}
						}
					}
				})
			}
			go func() {
				callers.Wait()
				p.l.Do(p.end)
				p.l.Unref()
			}()
			p.l.Post(func() { close(start) })
			run(t, p.l)
			callers.Wait()
			run(t, p.l) // what was started after the end
			p.cancel()
		}
	})
}

// Two loops with a socket at either end of the same connections write to each other's sockets, pipe and relay between
// the loops, and do not block each other.
func TestEverywhereTwoLoops(t *testing.T) {
	onEach(t, func(t *testing.T) {
		text := bytes.Repeat([]byte("across the loops "), 1<<16)
		a, b := evnet.NewLoop(), evnet.NewLoop()
		a.Ref()
		b.Ref()
		firstA, peerA := pair(t)
		firstB, peerB := pair(t)
		secondA, peerC := pair(t)
		secondB, peerD := pair(t)
		evnet.Relay(wrap(a, firstA), wrap(b, firstB), nil)
		wrap(a, secondA).Pipe(wrap(b, secondB))

		// Each loop writes to a socket of the other in its callbacks.
		thirdA, peerE := pair(t)
		thirdB, peerF := pair(t)
		x, y := wrap(a, thirdA), wrap(b, thirdB)
		x.On.Data(func(p []byte) { _, _ = y.Write(p) })
		y.On.Data(func(p []byte) { _, _ = x.Write(p) })
		x.On.End(func() { y.End() })
		y.On.End(func() { x.End() })
		x.SetAllowHalfOpen(true)
		y.SetAllowHalfOpen(true)

		var peers sync.WaitGroup
		send := func(c *net.TCPConn) {
			peers.Go(func() { _, _ = c.Write(text); _ = c.CloseWrite() })
		}
		receive := func(c *net.TCPConn) {
			peers.Go(func() {
				got, err := io.ReadAll(c)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(text, got), "%d of %d", len(got), len(text))
			})
		}
		for _, c := range []*net.TCPConn{peerA, peerB, peerC, peerE, peerF} {
			send(c)
		}
		for _, c := range []*net.TCPConn{peerA, peerB, peerD, peerE, peerF} {
			receive(c)
		}
		var loops sync.WaitGroup
		for _, l := range []*evnet.Loop{a, b} {
			loops.Go(func() { run(t, l) })
		}
		peers.Wait()
		_, _ = peerC.Close(), peerD.Close()
		a.Unref()
		b.Unref()
		loops.Wait()
		for _, c := range []*net.TCPConn{peerA, peerB, peerC, peerD, peerE, peerF} {
			_ = c.Close()
		}
	})
}
