package evnet_test

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServer_MaxConnectionRate(t *testing.T) {
	const each = 10 // connections at the same time
	for name, c := range map[string]struct {
		rate int
		want []int // connections accepted after each of the pauses
	}{
		"five":     {5, []int{5, 2, 3, 5, 5}},
		"one":      {1, []int{1, 0, 1, 1, 1}}, // not two after two seconds
		"no limit": {0, []int{each, each, each, each, each}},
		"huge":     {math.MaxInt, []int{each, each, each, each, each}},
		"negative": {-1, []int{0, 0, 0, 0, 0}},
	} {
		for _, loops := range []int{1, 3} {
			t.Run(fmt.Sprint(name, " ", loops), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pauses := []time.Duration{0, time.Second / 2, time.Second / 2, 2 * time.Second, 10 * time.Second}
					opts := evnet.ServerOptions{MaxConnectionRate: c.rate}
					for range loops {
						opts.Loops = append(opts.Loops, evnet.NewLoop())
					}
					server := evnet.NewServer(&opts)
					var connections, decided atomic.Int32
					round := make(chan bool, 1)
					var got []int
					m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
					m.OnAccept = func(n int) (net.Conn, error) {
						if n%each == 1 {
							if n > 1 {
								<-round
							}
							if n > each*len(pauses) {
								opts.Loops[0].Post(func() { _ = server.Close(nil); server.CloseAllConnections() })
								return m.MemoryListener.Accept()
							}
							time.Sleep(pauses[n/each])
						}
						return connFrom("192.0.2.1"), nil
					}
					decide := func() {
						if decided.Add(1)%each == 0 {
							got = append(got, int(connections.Swap(0)))
							round <- true
						}
					}
					server.On.Connection(func(*evnet.Socket) { connections.Add(1); decide() })
					server.On.Drop(func(d evnet.Drop) { assert.Equal(t, evnet.DropRate, d.Reason); decide() })
					require.NoError(t, server.Serve(m))
					kit.RunAll(t, opts.Loops)
					assert.Equal(t, c.want, got)
				})
			})
		}
	}
}

// The limits are checked in the documented order, and the rate counts only what no other limit refuses.
func TestServer_DropReasons(t *testing.T) {
	banned := &evnet.BlockList{}
	require.NoError(t, banned.AddAddress(netip.MustParseAddr("192.0.2.66")))
	for name, c := range map[string]struct {
		opts  evnet.ServerOptions
		peers []string
		want  []verdict
	}{
		"all": {evnet.ServerOptions{MaxConnections: -1, MaxConnectionsPerAddress: -1, MaxConnectionRate: -1},
			[]string{"192.0.2.1", "/path"}, []verdict{perAddress, tooMany}},
		"maximum and rate": {evnet.ServerOptions{MaxConnections: -1, MaxConnectionRate: -1}, []string{"192.0.2.1"}, []verdict{tooMany}},
		"rate":             {evnet.ServerOptions{MaxConnections: 9, MaxConnectionsPerAddress: 9, MaxConnectionRate: -1}, []string{"192.0.2.1"}, []verdict{tooFast}},
		"an address does not use the rate up": {evnet.ServerOptions{MaxConnectionsPerAddress: 1, MaxConnectionRate: 2},
			[]string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"},
			[]verdict{accepted, perAddress, perAddress, perAddress, accepted, tooFast}},
		"a dropped connection does not count": {evnet.ServerOptions{MaxConnectionsPerAddress: 1, MaxConnections: 1},
			[]string{"192.0.2.1", "192.0.2.2", "192.0.2.2"}, []verdict{accepted, tooMany, tooMany}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				assert.Equal(t, c.want, offer(t, c.opts, c.peers, nil))
			})
		})
	}

	// Blocked peers are checked before all limits: they are not reported, and do not count.
	synctest.Test(t, func(t *testing.T) {
		var l, m = evnet.NewLoop(), evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{
			Loops: []*evnet.Loop{l}, BlockList: banned, MaxConnectionRate: 1, MaxConnectionsPerAddress: 1,
		})
		server.On.Drop(func(d evnet.Drop) { t.Error(d) })
		server.On.Connection(func(s *evnet.Socket) { s.Destroy(nil); _ = server.Close(nil) })
		require.NoError(t, server.Serve(m))
		for range 10 {
			m.Conns <- connFrom("192.0.2.66")
		}
		m.Conns <- connFrom("192.0.2.1")
		kit.Run(t, l)
	})
}

func TestDropReason_String(t *testing.T) {
	assert.Equal(t, tooMany, evnet.Drop{}.Reason.String(), "the limit that Node has")
	assert.Equal(t, tooMany, evnet.DropMaxConnections.String())
	assert.Equal(t, perAddress, evnet.DropPerAddress.String())
	assert.Equal(t, tooFast, evnet.DropRate.String())
	assert.Equal(t, "DropReason(9)", evnet.DropReason(9).String())
}
