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

// A good client waits no longer for an answer than this, whatever others do: a hundred times what it
// takes without them, so that only one who is starved does.
const fair = 5 * time.Second

const (
	goodClients = 5
	shortTime   = 100 * time.Millisecond
	slowTime    = 2 * time.Second // for what the good clients have no more of either
)

// goodExchanges is how often a good client sends a line at least.
func goodExchanges() int { return evtest.Pick(10, 40) }

// attack is what hostile peers do to a server while good clients talk to it.
type attack struct {
	options evnet.ServerOptions
	serve   func(l *evnet.Loop, s *evnet.Socket, seen *seen) // default: an echo
	peers   int                                              // that attack at once
	from    string                                           // their address
	again   bool                                             // the good clients connect anew for each exchange
	waits   bool                                             // it takes time, but no processor: such attacks run in parallel
	// peer is one of them: it comes again and again until the good ones are done, when stop is closed.
	peer func(t *testing.T, c *net.TCPConn, stop chan struct{})
	// felt says whether the attack has come about, and the server has defended itself.
	felt func(seen *seen) bool
}

// seen is what the server has noticed, and the attackers.
type seen struct {
	served, drops, tooLong, timeouts, urgent atomic.Int32

	reasons [3]atomic.Int32 // of the drops
	stayed  atomic.Int64    // the longest time that an attacker stayed before it was cut off, where that is noted
	rounds  atomic.Int32    // attacks that are over
	read    atomic.Int64    // from those that have closed
	server  *evnet.Server
}

// longest notes how long an attacker has stayed.
func (s *seen) longest(d time.Duration) { s.stayed.Store(max(s.stayed.Load(), int64(d))) }

// poured is how many bytes the server has read.
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
		peer: untilClosed,
		felt: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"a byte now and then, forever": { // which no idle timeout ends
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
			tick := time.NewTicker(slowTime / 50) // less than a line
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
		felt: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"a whole life of small questions": { // which are answered, and read
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
		felt: func(s *seen) bool { return s.timeouts.Load() >= 50 },
	},
	"more connections than are allowed": {
		options: evnet.ServerOptions{MaxConnections: goodClients}, peers: 20,
		peer: untilClosed,
		felt: func(s *seen) bool { return s.drops.Load() >= 100 },
	},
	"one address takes every connection": { // half of them are left to the good clients, some for connections that are closing
		options: evnet.ServerOptions{MaxConnections: 16 * goodClients, MaxConnectionsPerAddress: 8 * goodClients},
		peers:   16 * goodClients, from: "127.0.0.66", again: true,
		peer: untilClosed,
		felt: func(s *seen) bool { return s.reasons[evnet.DropPerAddress].Load() >= 100 },
	},
	"connections in a flood": {
		options: evnet.ServerOptions{MaxConnectionRate: 4 * goodClients}, peers: 20,
		peer: func(*testing.T, *net.TCPConn, chan struct{}) {},
		felt: func(s *seen) bool { return s.reasons[evnet.DropRate].Load() >= 100 },
	},
	"connections that are reset at once": {
		peers: 20,
		peer:  func(_ *testing.T, c *net.TCPConn, _ chan struct{}) { _ = c.SetLinger(0) },
		felt:  func(s *seen) bool { return s.served.Load() >= 100 },
	},
	"blocked addresses": {
		options: evnet.ServerOptions{BlockList: blocking("127.0.0.66")}, peers: 20, from: "127.0.0.66",
		peer: untilClosed,
		felt: func(s *seen) bool { return s.rounds.Load() >= 100 && s.served.Load() == goodClients },
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
		felt: func(s *seen) bool { return s.timeouts.Load() >= 20 }, // each of them
	},
	"peers that read nothing and send three bytes now and then": { // which no idle timeout ends
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
		felt: func(s *seen) bool { return s.timeouts.Load() >= 20 }, // each of them
	},
	"firehoses": {
		peers: 5,
		peer: func(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
			go func() { _, _ = io.Copy(io.Discard, c) }()
			pour(c, make([]byte, 64<<10), stop)
		},
		felt: func(s *seen) bool { return s.served.Load() >= goodClients+5 && s.poured() >= 20<<20 },
	},
	"firehoses that never read": {
		peers: 20,
		peer:  func(_ *testing.T, c *net.TCPConn, stop chan struct{}) { pour(c, make([]byte, 64<<10), stop) },
		felt:  func(s *seen) bool { return s.served.Load() >= goodClients+20 && s.poured() >= 4<<20 },
	},
	"lines without an end": {
		peers: 10,
		serve: func(_ *evnet.Loop, s *evnet.Socket, _ *seen) {
			_ = s.Scan(nil, 4096, func(line []byte) { _, _ = s.Write(append(line, '\n')) })
		},
		peer: func(t *testing.T, c *net.TCPConn, stop chan struct{}) {
			sent := pour(c, make([]byte, 64<<10), stop)
			assert.Less(t, sent, 64<<20, "of a gigabyte")
		},
		felt: func(s *seen) bool { return s.tooLong.Load() >= 10 },
	},
	"urgent bytes": { // which half of the sockets see
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
		felt: func(s *seen) bool { return s.urgent.Load() >= 100 || runtime.GOOS == "windows" },
	},
}

// Whatever some peers do, others are served, and in time. The short form tries each attack on one transport.
func TestHostilePeers(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		waiting := map[string]func(*testing.T){}
		for i, name := range slices.Sorted(maps.Keys(attacks)) {
			a := attacks[name]
			// The first two, neighbours by their names, last longest, and so are tried at the same time.
			if !evtest.Long() && (i/2%2 == 0) != netpoll.Enabled {
				continue
			}
			if a.waits && !race.Enabled { // the detector makes them compute
				waiting[name] = a.run
				continue
			}
			t.Run(name, func(t *testing.T) {
				if a.from != "" && runtime.GOOS != "linux" {
					t.Skip("this system has only one address of its own")
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
	felt := func() bool { return a.felt(seen) }
	var good, bad sync.WaitGroup
	var slowest atomic.Int64
	var connected sync.WaitGroup
	connected.Add(goodClients)
	for range goodClients {
		good.Go(func() { talk(t, dial, a.again, connected.Done, &slowest, felt) })
	}
	good.Go(func() { others.talk(&slowest, felt) })
	for range a.peers {
		bad.Go(func() {
			connected.Wait() // they were here first
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
		server.CloseAllConnections() // for those who wait for an answer
		bad.Wait()
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	connected.Wait()
	run(t, l)
	t.Logf("the longest wait of a good client: %v; served %d, dropped %d, cut off %d and %d; %d MB read",
		time.Duration(slowest.Load()), seen.served.Load(), seen.drops.Load(), seen.timeouts.Load(), seen.tooLong.Load(), seen.poured()>>20)
	if d := time.Duration(seen.stayed.Load()); d > 0 {
		t.Log("an attacker stayed for", d)
	}
	assert.True(t, a.felt(seen), "the server has not noticed the attack")
}
