package dgram_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stuck is a resolver that heeds no context: it answers once it is let go.
type stuck struct {
	ip       netip.Addr
	enough   int           // calls at once
	full     chan struct{} // closed when there are that many
	release  chan struct{}
	now, all atomic.Int32
	most     atomic.Int32
}

func newStuck(enough int) *stuck {
	return &stuck{ip: netip.MustParseAddr("127.0.0.1"), enough: enough, full: make(chan struct{}), release: make(chan struct{})}
}

func (r *stuck) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	now := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
	}
	if int(r.all.Add(1)) == r.enough {
		close(r.full)
	}
	<-r.release
	return []netip.Addr{r.ip}, nil
}

// maxLookups is how many look-ups a socket has at once.
const maxLookups = 128

// However many messages wait for a resolver, few goroutines do, and Close tells all of them at once.
func TestLookupsAreBounded(t *testing.T) {
	each(t, func(t *testing.T) {
		const count = 1000
		l := evnet.NewLoop()
		r := newStuck(maxLookups)
		s := bound(t, l, dgram.SocketOptions{Resolver: r})
		told := 0
		before := runtime.NumGoroutine()
		for i := range count {
			require.NoError(t, s.Send(nil, fmt.Sprintf("host%d:9", i), func(err error) {
				assert.ErrorIs(t, err, dgram.ErrNotRunning)
				told++
			}))
		}
		assert.LessOrEqual(t, runtime.NumGoroutine(), before+maxLookups)
		assert.Equal(t, count, s.SendQueueCount())
		s.On.Listening(func() {
			<-r.full
			closed(s)
			assert.Zero(t, s.SendQueueCount())
		})
		s.On.Close(func() {
			assert.Equal(t, count, told)
			close(r.release)
		})
		run(t, l)
		assert.Equal(t, count, told)
		assert.EqualValues(t, maxLookups, r.all.Load(), "after Close nothing is looked up any more")
	})
}

// Those beyond the bound have their turn.
func TestLookupsTakeTurns(t *testing.T) {
	each(t, func(t *testing.T) {
		const count = 3*maxLookups + 1
		l := evnet.NewLoop()
		r := newStuck(maxLookups)
		s, c := bound(t, l, dgram.SocketOptions{Resolver: r}), peer(t)
		told := 0
		for range count {
			require.NoError(t, s.Send([]byte("x"), fmt.Sprintf("host:%d", addrOf(c).Port()), func(err error) {
				assert.NoError(t, err)
				if told++; told == count {
					closed(s)
				}
			}))
		}
		s.On.Listening(func() {
			<-r.full
			close(r.release)
		})
		run(t, l)
		assert.Equal(t, count, told)
		assert.EqualValues(t, count, r.all.Load())
		assert.EqualValues(t, maxLookups, r.most.Load())
	})
}
