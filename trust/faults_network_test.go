package trust

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// badNetwork relays a connection in pieces of any size, with stalls. If cut is not 0, it cuts the connection after
// that many bytes, with an end or a reset.
type badNetwork struct {
	random *rand.Rand
	cut    int
	reset  bool
}

// relay joins two conns until both directions have ended or it cuts them.
func (n *badNetwork) relay(a, b *net.TCPConn) {
	var mu sync.Mutex // protects random and left
	left := n.cut
	step := func(want int) (k int, stall int) {
		mu.Lock()
		defer mu.Unlock()
		k = 1 + n.random.IntN(min(want, 1+n.random.IntN(20_000)))
		if n.cut > 0 {
			k = min(k, left)
			left -= k
		}
		return k, n.random.IntN(30)
	}
	var done sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		done.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				k, stall := step(len(buf))
				if k == 0 {
					if n.reset {
						_, _ = to.SetLinger(0), from.SetLinger(0)
					}
					_, _ = to.Close(), from.Close()
					return
				}
				got, err := io.ReadFull(from, buf[:k])
				_, werr := to.Write(buf[:got])
				if err == io.EOF || err == io.ErrUnexpectedEOF {
					_ = to.CloseWrite()
				}
				if err != nil || werr != nil {
					return
				}
				for range stall {
					runtime.Gosched()
				}
			}
		})
	}
	pass(a, b)
	pass(b, a)
	done.Wait()
	_, _ = a.Close(), b.Close()
}

// Over a network that splits, delays, stalls and cuts, the received data is a prefix of what was sent. It is all of
// it if both sides see the end.
func TestFaultsBadNetwork(t *testing.T) {
	const size = 500_000
	onEach(t, func(t *testing.T) {
		for seed := range uint64(30) {
			n := &badNetwork{random: rand.New(rand.NewPCG(seed, 1))}
			if seed%3 > 0 {
				n.cut, n.reset = 1+n.random.IntN(2*size), seed%3 == 1
			}
			text := pattern(outgoing, 0, size)
			client, near := pair(t)
			far, server := pair(t)
			l := evnet.NewLoop()
			aside(l, func() { n.relay(near, far) })
			var got [2]collect
			var ended [2]bool
			sockets := []*evnet.Socket{wrap(l, client), wrap(l, server)}
			for i, s := range sockets {
				s.On.Data(got[i].add)
				s.On.End(func() { ended[i] = true })
				_, _ = s.Write(text)
				s.End()
			}
			run(t, l)
			for i, s := range sockets {
				require.True(t, bytes.HasPrefix(text, got[i].got.Bytes()), "seed %d: the received data differs from what was sent", seed)
				if n.cut == 0 {
					require.True(t, ended[i] && s.Err() == nil && got[i].got.Len() == size, "seed %d: %d bytes, %v", seed, got[i].got.Len(), s.Err())
				}
				if n.cut > 0 && n.reset && got[i].got.Len() < size {
					assert.False(t, ended[i] && s.Err() == nil, "seed %d: a cut was reported as an end", seed)
				}
			}
		}
	})
}
