package trust

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
)

// fair is how long a well-behaved client may wait for an answer, whatever other peers do. It is a hundred times the
// wait without attackers, so that only a starved client exceeds it.
const fair = 5 * time.Second

const (
	goodClients = 5
	shortTime   = 100 * time.Millisecond
	slowTime    = 2 * time.Second // for limits that the good clients also have to stay below
)

// goodExchanges is how many lines a good client sends at least.
func goodExchanges() int { return evtest.Pick(10, 40) }

// attack is what hostile peers do to a server while good clients use it.
type attack struct {
	options evnet.ServerOptions
	serve   func(l *evnet.Loop, s *evnet.Socket, seen *seen) // default: an echo
	peers   int                                              // that attack at the same time
	from    string                                           // the address of the attackers
	again   bool                                             // the good clients reconnect for each exchange
	waits   bool                                             // it takes time, but no processor time: such attacks run in parallel
	// peer is one attacker. It is called again and again until the good clients are done and stop is closed.
	peer func(t *testing.T, c *net.TCPConn, stop chan struct{})
	// detected reports whether the attack took place and the server has defended itself.
	detected func(seen *seen) bool
}

// seen is what the server and the attackers have counted.
type seen struct {
	served, drops, tooLong, timeouts, urgent atomic.Int32

	reasons [3]atomic.Int32 // of the drops
	stayed  atomic.Int64    // the longest time before an attacker was disconnected, if the attack records it
	rounds  atomic.Int32    // attacks that have ended
	read    atomic.Int64    // bytes from closed connections
	server  *evnet.Server
}

// longest records how long an attacker stayed connected.
func (s *seen) longest(d time.Duration) { s.stayed.Store(max(s.stayed.Load(), int64(d))) }

// poured returns how many bytes the server has read.
func (s *seen) poured() int64 {
	n := s.read.Load()
	for _, socket := range s.server.Sockets() {
		n += socket.BytesRead()
	}
	return n
}

var attacks = map[string]attack{
	"peers that never send": {
		waits:   true,
		options: evnet.ServerOptions{FirstByteTimeout: shortTime}, peers: 50,
		peer:     untilClosed,
		detected: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"a byte now and then, forever": { // no idle timeout ends them
		waits:   true,
		options: evnet.ServerOptions{FirstByteTimeout: shortTime, IdleTimeout: time.Minute}, peers: 50,
		serve: func(l *evnet.Loop, s *evnet.Socket, _ *seen) {
			s.Scan(nil, 100, func(line []byte) { _, _ = s.Write(append(line, '\n')) })
			limit := l.AfterFunc(slowTime, func() {
				if s.BytesWritten() == 0 {
					s.Destroy(os.ErrDeadlineExceeded)
				}
			})
			limit.Unref()
			s.On.Close(func(bool) { limit.Stop() })
		},
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			tick := time.NewTicker(slowTime / 50) // 50 bytes before the limit, fewer than Scan's maximum
			defer tick.Stop()
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		},
		detected: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"a long series of small requests": { // they are answered, and the answers are read
		waits:   true,
		options: evnet.ServerOptions{MaxLifetime: slowTime, IdleTimeout: time.Minute, WriteTimeout: time.Minute}, peers: 50,
		again: true,
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			now := time.NewTicker(slowTime / 20)
			defer now.Stop()
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
				select {
				case <-stop:
					return
				case <-now.C:
				}
			}
		},
		detected: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"more connections than are allowed": {
		options: evnet.ServerOptions{MaxConnections: goodClients}, peers: 20,
		peer:     untilClosed,
		detected: func(s *seen) bool { return s.drops.Load() >= 100 },
	},
	"one address takes every connection": { // half of the connections are for the good clients, and some of those are still closing
		options: evnet.ServerOptions{MaxConnections: 16 * goodClients, MaxConnectionsPerAddress: 8 * goodClients},
		peers:   16 * goodClients, from: "127.0.0.66", again: true,
		peer:     untilClosed,
		detected: func(s *seen) bool { return s.reasons[evnet.DropPerAddress].Load() >= 100 },
	},
	"connections in a flood": {
		options: evnet.ServerOptions{MaxConnectionRate: 4 * goodClients}, peers: 20,
		peer:     func(*testing.T, *net.TCPConn, chan struct{}) {},
		detected: func(s *seen) bool { return s.reasons[evnet.DropRate].Load() >= 100 },
	},
	"connections that are reset immediately": {
		peers:    20,
		peer:     func(_ *testing.T, c *net.TCPConn, _ chan struct{}) { _ = c.SetLinger(0) },
		detected: func(s *seen) bool { return s.served.Load() >= 100 },
	},
	"blocked addresses": {
		options: evnet.ServerOptions{BlockList: blocking("127.0.0.66")}, peers: 20, from: "127.0.0.66",
		peer:     untilClosed,
		detected: func(s *seen) bool { return s.rounds.Load() >= 100 && s.served.Load() == goodClients },
	},
	"peers that end and neither read nor close": {
		waits:   true,
		options: evnet.ServerOptions{CloseTimeout: shortTime}, peers: 20,
		serve: func(_ *evnet.Loop, s *evnet.Socket, _ *seen) {
			s.On.Data(func(p []byte) {
				if string(p) == "more" {
					_ = s.Conn().(*net.TCPConn).SetWriteBuffer(16 << 10)
					p = make([]byte, 1<<20)
				}
				_, _ = s.Write(p)
			})
		},
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			_ = c.SetReadBuffer(4096)
			_, _ = c.Write([]byte("more"))
			_ = c.CloseWrite()
			<-stop
		},
		detected: func(s *seen) bool { return s.timeouts.Load() >= 20 }, // each attacker
	},
	"peers that read nothing and send three bytes now and then": { // no idle timeout ends them
		waits:   true,
		options: evnet.ServerOptions{WriteTimeout: 5 * shortTime, IdleTimeout: time.Minute}, peers: 20,
		serve: func(_ *evnet.Loop, s *evnet.Socket, seen *seen) {
			s.On.Data(func(p []byte) {
				switch {
				case bytes.HasPrefix(p, []byte("more")):
					_ = s.Conn().(*net.TCPConn).SetWriteBuffer(16 << 10)
					p = make([]byte, 1<<20)
				case bytes.HasPrefix(p, []byte("...")):
					return
				}
				_, _ = s.Write(p)
			})
			began := time.Now()
			s.On.Error(func(error) { seen.longest(time.Since(began)) })
		},
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			_ = c.SetReadBuffer(4096)
			_, _ = c.Write([]byte("more"))
			tick := time.NewTicker(shortTime)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if _, err := c.Write([]byte("...")); err != nil {
					return
				}
			}
		},
		detected: func(s *seen) bool { return s.timeouts.Load() >= 20 }, // each attacker
	},
	"firehoses": {
		peers: 5,
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			pour(c, make([]byte, 64<<10), stop)
		},
		detected: func(s *seen) bool { return s.served.Load() >= goodClients+5 && s.poured() >= 20<<20 },
	},
	"firehoses that never read": {
		peers:    20,
		peer:     func(_ *testing.T, c *net.TCPConn, stop chan struct{}) { pour(c, make([]byte, 64<<10), stop) },
		detected: func(s *seen) bool { return s.served.Load() >= goodClients+20 && s.poured() >= 4<<20 },
	},
	"lines without a newline": {
		peers: 10,
		serve: func(_ *evnet.Loop, s *evnet.Socket, _ *seen) {
			_ = s.Scan(nil, 4096, func(line []byte) { _, _ = s.Write(append(line, '\n')) })
		},
		peer: func(t *testing.T, c *net.TCPConn, stop chan struct{}) {
			sent := pour(c, make([]byte, 64<<10), stop)
			assert.Less(t, sent, 64<<20, "of a gigabyte")
		},
		detected: func(s *seen) bool { return s.tooLong.Load() >= 10 },
	},
	"urgent bytes": { // half of the sockets receive them
		peers: 5,
		serve: func(_ *evnet.Loop, s *evnet.Socket, seen *seen) {
			if seen.served.Load()%2 == 0 {
				readUrgent(s.Conn().(*net.TCPConn))
			}
			s.On.Data(func(p []byte) { seen.urgent.Add(int32(bytes.Count(p, []byte("!")))) })
			s.Pipe(s)
		},
		peer: func(t *testing.T, c *net.TCPConn, stop chan struct{}) {
			for range 100 {
				sendUrgent(t, c)
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		},
		detected: func(s *seen) bool { return s.urgent.Load() >= 100 || runtime.GOOS == "windows" },
	},
}

// Whatever some peers do, the others are served, and within the limit fair. The short form tries each attack on one
// transport.
func TestHostilePeers(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		waiting := map[string]func(*testing.T){}
		for i, name := range slices.Sorted(maps.Keys(attacks)) {
			a := attacks[name]
			// The first two attacks, which are adjacent by name, take longest. They run at the same time.
			if !evtest.Long() && (i/2%2 == 0) != netpoll.Enabled {
				continue
			}
			if a.waits && !race.Enabled { // under the race detector they need processor time
				waiting[name] = a.run
				continue
			}
			t.Run(name, func(t *testing.T) {
				if a.from != "" && runtime.GOOS != "linux" {
					t.Skip("this system has only one loopback address")
				}
				a.run(t)
			})
		}
		together(t, waiting)
	})
}

func (a attack) run(t *testing.T) {
	l := evnet.NewLoop()
	seen := &seen{}
	a.options.AllowHalfOpen = false
	server, address := serve(t, l, a.options, func(s *evnet.Socket) {
		seen.served.Add(1)
		s.On.Close(func(bool) { seen.read.Add(s.BytesRead()) })
		s.On.Error(func(err error) {
			switch {
			case errors.Is(err, bufio.ErrTooLong):
				seen.tooLong.Add(1)
			case errors.Is(err, os.ErrDeadlineExceeded):
				seen.timeouts.Add(1)
			}
		})
		if a.serve != nil {
			a.serve(l, s, seen)
		} else {
			s.Pipe(s)
		}
	})
	seen.server = server
	server.On.Drop(func(d evnet.Drop) { seen.drops.Add(1); seen.reasons[d.Reason].Add(1) })

	stop := make(chan struct{})
	others := newCompany(t, l)
	dial := func() (net.Conn, error) { return net.Dial("tcp", address) }
	detected := func() bool { return a.detected(seen) }
	var good, bad sync.WaitGroup
	var slowest atomic.Int64
	var connected sync.WaitGroup
	connected.Add(goodClients)
	for range goodClients {
		good.Go(func() { talk(t, dial, a.again, connected.Done, &slowest, detected) })
	}
	good.Go(func() { others.talk(&slowest, detected) })
	for range a.peers {
		bad.Go(func() {
			connected.Wait() // the good clients connect first
			for {
				select {
				case <-stop:
					return
				default:
				}
				dialer := net.Dialer{}
				if a.from != "" {
					dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a.from), 0))
				}
				c, err := dialer.Dial("tcp", address)
				if err != nil {
					runtime.Gosched()
					continue
				}
				a.peer(t, c.(*net.TCPConn), stop)
				_ = c.Close()
				seen.rounds.Add(1)
			}
		})
	}
	aside(l, func() {
		good.Wait()
		close(stop)
		server.CloseAllConnections() // for attackers that wait for an answer
		bad.Wait()
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	connected.Wait()
	run(t, l)
	t.Logf("the longest wait of a good client: %v; served %d, dropped %d, timed out %d, overlong lines %d; %d MB read",
		time.Duration(slowest.Load()), seen.served.Load(), seen.drops.Load(), seen.timeouts.Load(), seen.tooLong.Load(), seen.poured()>>20)
	if d := time.Duration(seen.stayed.Load()); d > 0 {
		t.Log("the longest time an attacker stayed connected:", d)
	}
	assert.True(t, a.detected(seen), "the server did not detect the attack")
}
