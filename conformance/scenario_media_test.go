package conformance_test

import (
	"context"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"evnet"
	"evnet/conformance/scenario"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The scenarios are recorded over TCP. Over another medium they have the same traces, except for the differences in
// testdata/media.

// medium is the kind of connections that a scenario uses.
type medium struct {
	name string
	// says returns the form of a line of TCP's trace over this medium.
	says func(line string) string
	// more reports whether a line is an additional one, which TCP's trace does not have.
	more func(line string) bool
	// virtual reports that all goroutines are in a synctest bubble, whose time is exact.
	virtual bool
	// listen makes the server listen, dial connects a socket to it.
	listen func(p *player, name string, onListening func()) error
	dial   func(p *player, name string) (network, address string)
	// socket and server prepare the options.
	socket func(p *player, opts *evnet.SocketOptions)
	server func(opts *evnet.ServerOptions)
}

var media = []*medium{
	{
		name: "Unix",
		says: func(line string) string {
			return strings.ReplaceAll(line, "connectionAttempt 127.0.0.1 PORT 4", "connectionAttempt PATH undefined undefined")
		},
		listen: func(p *player, name string, onListening func()) error {
			return p.server(name).Listen("unix", p.place("medium."+name), onListening)
		},
		dial: func(p *player, name string) (network, address string) { return "unix", p.addrs[name].String() },
	},
	{
		name: "TLS",
		listen: func(p *player, name string, onListening func()) error {
			return p.server(name).Listen("tcp", "127.0.0.1:0", onListening)
		},
		dial: func(p *player, name string) (network, address string) { return "tcp", p.addrs[name].String() },
		socket: func(_ *player, opts *evnet.SocketOptions) {
			opts.TLSConfig = evtest.ClientConfig()
			opts.TLSConfig.ServerName = "localhost"
		},
		server: func(opts *evnet.ServerOptions) { opts.TLSConfig = evtest.ServerConfig() },
		more:   func(line string) bool { return line == "secureConnect" },
	},
	{
		name:    "memory",
		virtual: true,
		listen: func(p *player, name string, onListening func()) error {
			if onListening != nil {
				p.server(name).Once.Listening(onListening)
			}
			return p.server(name).Serve(p.memory.listen())
		},
		dial:   func(p *player, name string) (network, address string) { return "tcp", p.addrs[name].String() },
		socket: func(p *player, opts *evnet.SocketOptions) { opts.Dial = p.memory.dial },
	},
}

func (m *medium) play(t *testing.T, s *scenario.Script, stretch int) (lines scenario.TraceLines) {
	if m != nil && m.virtual {
		synctest.Test(t, func(t *testing.T) { lines = play(t, s, m, stretch) })
		return lines
	}
	return play(t, s, m, stretch)
}

// memoryNet connects servers and clients in memory.
type memoryNet struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	ports     int
}

type memoryListener struct {
	net   *memoryNet
	addr  *net.TCPAddr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (m *memoryNet) listen() net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports++
	ln := &memoryListener{
		net: m, addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: m.ports},
		conns: make(chan net.Conn, 100), done: make(chan struct{}),
	}
	if m.listeners == nil {
		m.listeners = map[string]*memoryListener{}
	}
	m.listeners[ln.addr.String()] = ln
	return ln
}

func (m *memoryNet) dial(_ context.Context, network, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ln := m.listeners[address]
	if ln == nil {
		addr, _ := net.ResolveTCPAddr(network, address)
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr, Err: syscall.ECONNREFUSED}
	}
	m.ports++
	c, s := evtest.MemoryPair(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: m.ports}, ln.addr)
	ln.conns <- s
	return c, nil
}

func (ln *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-ln.conns:
		return c, nil
	case <-ln.done:
		return nil, net.ErrClosed
	}
}

func (ln *memoryListener) Addr() net.Addr { return ln.addr }

func (ln *memoryListener) Close() error {
	ln.once.Do(func() {
		ln.net.mu.Lock()
		defer ln.net.mu.Unlock()
		delete(ln.net.listeners, ln.addr.String())
		close(ln.done)
		for {
			select {
			case c := <-ln.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// unfit returns why a script cannot be played over a medium other than TCP, "" if it can.
func unfit(block []*scenario.Statement) string {
	for _, st := range block {
		_, method, _ := strings.Cut(st.Words[0], ".")
		o := scenario.ParseOptions(st.Words[1:])
		switch {
		case st.Words[0] == "start" && o["path"] != "", method == "connect" && o["path"] != "", method == "listen" && o["path"] != "":
			return "the scenario is about the path of a Unix socket"
		case method == "listen" && (o["port"] != "" || o["host"] != "" || o["signal"] != ""):
			return "the scenario is about listening"
		case method == "connect" && (o["host"] != "" || net.ParseIP(st.Words[1]) != nil || st.Words[1] == "closed"),
			st.Words[0] == "socket" && (o["lookup"] != "" || o["family"] != ""), st.Words[0] == "silent":
			return "the scenario is about addresses"
		}
		if why := unfit(st.Block); why != "" {
			return why
		}
	}
	return ""
}

// exception is the difference of a scenario over another medium.
type exception struct {
	because string
	lines   scenario.TraceLines // the traces of the actors that differ; nil: not played
}

// readExceptions reads testdata/media.
func readExceptions(t testing.TB, medium string) map[string]exception {
	text, err := os.ReadFile("testdata/media/" + medium + ".txt")
	require.NoError(t, err)
	all := map[string]exception{}
	for _, part := range strings.Split("\n"+string(text), "\n-- ")[1:] {
		name, body, _ := strings.Cut(part, " --\n")
		because, lines, _ := strings.Cut(strings.TrimPrefix(body, "because: "), "\n")
		x := exception{because: because}
		if strings.TrimSpace(lines) != "" {
			x.lines = scenario.ParseLines(lines)
		}
		all[name] = x
	}
	return all
}

func TestTracesOverOtherMedia(t *testing.T) {
	scripts := scenario.ReadScripts(t, "testdata/scenarios")
	exceptions := map[*medium]map[string]exception{}
	for _, m := range media {
		unknown := readExceptions(t, m.name)
		exceptions[m] = maps.Clone(unknown)
		same, differ, unfit := 0, 0, 0
		for _, s := range scripts {
			x, excepted := unknown[s.Name]
			delete(unknown, s.Name)
			switch {
			case !x.fits(s, excepted):
				unfit++
			case excepted:
				differ++
			default:
				same++
			}
		}
		assert.Empty(t, unknown, "testdata/media names unknown scenarios")
		t.Logf("%d scenarios as over TCP, %d with a difference, %d that do not fit %s", same, differ, unfit, m.name)
	}
	inTwoRounds(t, scripts, func(t *testing.T, scripts []*scenario.Script) {
		for _, m := range media {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				if m.name != "Unix" && os.Getenv("EVNET_TRANSPORT") == "goroutine" {
					t.Skip("it always uses the goroutine transport, and is played without the variable")
				}
				for _, s := range scripts {
					if x, excepted := exceptions[m][s.Name]; x.fits(s, excepted) {
						t.Run(s.Name, func(t *testing.T) {
							t.Parallel()
							m.compare(t, s, x)
						})
					}
				}
			})
		}
	})
}

// fits reports whether a script is played over a medium. excepted reports whether x is an exception for it.
func (x exception) fits(s *scenario.Script, excepted bool) bool {
	return s.NodeOnly == "" && unfit(s.Steps) == "" && (!excepted || x.lines != nil)
}

// compare plays a script and compares its trace with the recorded one.
func (m *medium) compare(t *testing.T, s *scenario.Script, x exception) {
	want := s.Expected()
	for actor, lines := range want {
		for i, line := range lines {
			if m.says != nil {
				lines[i] = m.says(line)
			}
		}
		if other := x.lines[actor]; other != nil {
			other = slices.DeleteFunc(slices.Clone(other), func(line string) bool { return line == "(nothing)" })
			matchStars(other, lines)
			require.NotEqual(t, lines, other, "listed as a difference of %s, but the traces are equal", actor)
			want[actor] = other
		}
	}
	compare(t, s, m, want, func(seen []string) []string {
		if m.more != nil {
			seen = slices.DeleteFunc(seen, m.more)
		}
		return seen
	})
}
