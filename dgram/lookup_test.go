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

// stuck is a resolver that ignores its context. It answers when release is closed.
type stuck struct {
	ip       netip.Addr
	enough   int           // concurrent calls
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

// maxLookups is the maximum number of concurrent lookups of a socket.
const maxLookups = 128

// However many messages wait for a resolver, the number of goroutines is limited. Close reports ErrNotRunning to all of
// them without waiting for the resolver.
func TestLookupsAreBounded(t *testing.T) {
	each(t, func(t *testing.T) {
		const count = 1000
		l := evnet.NewLoop()
		r := newStuck(maxLookups)
		s := bound(t, l, dgram.SocketOptions{Resolver: r})
		reported := 0
		before := runtime.NumGoroutine()
		for i := range count {
			require.NoError(t, s.Send(nil, fmt.Sprintf("host%d:9", i), func(err error) {
				assert.ErrorIs(t, err, dgram.ErrNotRunning)
				reported++
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
			assert.Equal(t, count, reported)
			close(r.release)
		})
		run(t, l)
		assert.Equal(t, count, reported)
		assert.EqualValues(t, maxLookups, r.all.Load(), "no lookup starts after Close")
	})
}

// Lookups above the limit start when others have ended.
func TestLookupsTakeTurns(t *testing.T) {
	each(t, func(t *testing.T) {
		const count = 3*maxLookups + 1
		l := evnet.NewLoop()
		r := newStuck(maxLookups)
		s, c := bound(t, l, dgram.SocketOptions{Resolver: r}), peer(t)
		reported := 0
		for range count {
			require.NoError(t, s.Send([]byte("x"), fmt.Sprintf("host:%d", addrOf(c).Port()), func(err error) {
				assert.NoError(t, err)
				if reported++; reported == count {
					closed(s)
				}
			}))
		}
		s.On.Listening(func() {
			<-r.full
			close(r.release)
		})
		run(t, l)
		assert.Equal(t, count, reported)
		assert.EqualValues(t, count, r.all.Load())
		assert.EqualValues(t, maxLookups, r.most.Load())
	})
}
