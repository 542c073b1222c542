package evnet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded traces of Node, testdata/traces.json, as scenarios: each is played once on evnet,
// every event is noted as it is emitted, and each actor's lines are compared with Node's.

// ms is the millisecond of the scenarios: stretched, so that a busy machine keeps their order.
const ms = 4 * time.Millisecond

const onLinux = runtime.GOOS == "linux"

// scenario plays one recorded trace.
type scenario struct {
	play func(r *rig)
	// why and want are for a deliberate difference: the reason, and evnet's own trace instead
	// of Node's, a line each, "actor:line".
	why  string
	want string
}

// rig records what the actors of one scenario do.
type rig struct {
	*testing.T
	l       *evnet.Loop
	lines   map[string][]string
	names   map[any]string
	sockets []*evnet.Socket
	hidden  map[string]bool // "actor event"
	over    bool

	unaccepted int // connects less accepts
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, l: evnet.NewLoop(), lines: map[string][]string{}, names: map[any]string{}, hidden: map[string]bool{}}
	evnet.SetTracer(r.l, func(emitter any, event string, args ...any) {
		switch event {
		case "connect": // a socket whose peer is still to be accepted keeps the loop going
			if r.unaccepted++; r.unaccepted == 1 {
				r.l.Ref()
			}
		case "connection", "drop":
			if r.unaccepted--; r.unaccepted == 0 {
				r.l.Unref()
			}
		}
		if event == "connection" {
			r.sockets = append(r.sockets, args[0].(*evnet.Socket))
			args = nil
		}
		if name, ok := r.names[emitter]; ok && !r.hidden[name+" "+event] {
			r.log(name, "%s", describe(emitter, event, args))
		}
	})
	return r
}

// describe writes an event as the traces do.
func describe(emitter any, event string, args []any) string {
	text := event
	for _, arg := range args {
		switch arg := arg.(type) {
		case []byte:
			if emitter.(*evnet.Socket).Encoding() != "" {
				quoted, _ := json.Marshal(string(arg))
				text += " " + string(quoted)
			} else {
				text += fmt.Sprintf(" %d", len(arg))
			}
		case error:
			text += " " + evnet.Code(arg)
		case evnet.Lookup:
			if arg.Err != nil {
				text += fmt.Sprintf(" %s undefined undefined %s", evnet.Code(arg.Err), arg.Host)
			} else {
				text += fmt.Sprintf(" null %s %d %s", arg.Address, arg.Family, arg.Host)
			}
		case evnet.Attempt:
			if arg.Network == "unix" {
				text += " PATH undefined undefined"
			} else {
				host, _, _ := net.SplitHostPort(arg.Address)
				text += fmt.Sprintf(" %s PORT %d", host, arg.Family)
			}
		case evnet.Drop:
			if _, ok := arg.Remote.(*net.TCPAddr); ok {
				text += " localAddress,localPort,localFamily,remoteAddress,remotePort,remoteFamily"
			} else {
				text += " undefined"
			}
		default:
			text += fmt.Sprint(" ", arg)
		}
	}
	return text
}

func (r *rig) log(actor, format string, args ...any) {
	if !r.over {
		r.lines[actor] = append(r.lines[actor], fmt.Sprintf(format, args...))
	}
}

// hide leaves out events that the recording left out.
func (r *rig) hide(actor string, events ...string) {
	for _, event := range events {
		r.hidden[actor+" "+event] = true
	}
}

func must(r *rig, err error) {
	r.Helper()
	require.NoError(r, err)
}

// watch notes the events of a socket or server under a name.
func (r *rig) watch(emitter any, actor string) { r.names[emitter] = actor }

// client makes a watched socket that is not connected.
func (r *rig) client(opts *evnet.SocketOptions) *evnet.Socket { return r.socket("client", opts) }

func (r *rig) socket(actor string, opts *evnet.SocketOptions) *evnet.Socket {
	var o evnet.SocketOptions
	if opts != nil {
		o = *opts
	}
	o.Loop = r.l
	s := evnet.NewSocket(&o)
	r.sockets = append(r.sockets, s)
	r.watch(s, actor)
	return s
}

// server listens on 127.0.0.1 and does not keep the scenario going.
func (r *rig) server(opts *evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	s, address := serve(r.T, r.l, opts, onConnection)
	s.Unref()
	return s, address
}

// accept is a server whose sockets are watched as "server".
func (r *rig) accept(opts *evnet.ServerOptions, onConnection func(*evnet.Socket)) string {
	_, address := r.server(opts, func(c *evnet.Socket) {
		r.watch(c, "server")
		if onConnection != nil {
			onConnection(c)
		}
	})
	return address
}

// after runs fn n milliseconds of the scenario from now.
func (r *rig) after(n int, fn func()) { r.l.AfterFunc(time.Duration(n)*ms, fn) }

// endAfter ends a scenario that would go on: nothing more is noted.
func (r *rig) endAfter(n int) { r.after(n, r.end) }

func (r *rig) end() {
	r.over = true
	for _, s := range r.sockets {
		s.Destroy(nil)
	}
}

// then notes the outcome of a write.
func (r *rig) then(actor, what string) func(error) {
	return func(err error) {
		if err == nil {
			r.log(actor, "write cb %s ok", what)
		} else {
			r.log(actor, "write cb %s %s", what, evnet.Code(err))
		}
	}
}

func consume(s *evnet.Socket) { s.On.Data(func([]byte) {}) }

// closedPort is an address of 127.0.0.1 where nobody listens.
func closedPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// resolver answers with these addresses, "" for none at all and "junk" for one that is no address.
type resolver []string

func (a resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if len(a) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	ips := make([]netip.Addr, len(a))
	for i, text := range a {
		ips[i], _ = netip.ParseAddr(text)
	}
	return ips, nil
}

// silent is a Dialer for which 127.0.0.3 never answers.
func silent() *net.Dialer {
	return &net.Dialer{ControlContext: func(ctx context.Context, network, address string, _ syscall.RawConn) error {
		if strings.HasPrefix(address, "127.0.0.3:") {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
}

func (r *rig) path(name string) string {
	dir, err := os.MkdirTemp("", "evnet") // t.TempDir may be too long for a socket
	require.NoError(r, err)
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, name)
}

// boom is an error of the scenarios' own.
type boom string

func (b boom) Error() string { return string(b) }

// The lines of a trace that evnet has no counterpart for, whatever the scenario.
var noCounterpart = regexp.MustCompile(`^(pause|resume|pipe|unpipe|readable|setImmediate.*` + // events and phases of Node's streams
	`|end cb.*|end\(\) returned.*` + // End has no callback: Finish is the event
	`|setTimeout returned.*|returned self=true)$`) // methods that return the emitter

// Properties of Node's streams that evnet has no getter for.
var noGetter = regexp.MustCompile(` ?(pending|closed|writableEnded|writableFinished|readableEnded|readableFlowing|` +
	`errnoIsNumber|writableCorked|eventNames)=\S+`)

// Own errors have no code in Go.
var ownCode = regexp.MustCompile(`^error( BOOM| BANG)?$`)

var dataLine = regexp.MustCompile(`^data (\d+)$`)

// normal leaves out what evnet has no counterpart for, and merges adjacent data.
func normal(lines []string) []string {
	var out []string
	sum := -1
	flush := func() {
		if sum >= 0 {
			out = append(out, fmt.Sprintf("data %d", sum))
			sum = -1
		}
	}
	for _, line := range lines {
		if noCounterpart.MatchString(line) {
			continue
		}
		if m := dataLine.FindStringSubmatch(line); m != nil {
			var n int
			_, _ = fmt.Sscan(m[1], &n)
			sum = max(sum, 0) + n
			continue
		}
		flush()
		short := strings.TrimSpace(noGetter.ReplaceAllString(line, ""))
		if short == "" || short != line && !strings.Contains(short, "=") && strings.HasPrefix(short, "after") {
			continue // nothing but such properties
		}
		out = append(out, ownCode.ReplaceAllString(short, "error OWN"))
	}
	flush()
	return out
}

// recorded is one entry of testdata/traces.json, by actor.
type recorded struct {
	Name     string
	Group    string
	Platform string
	lines    map[string][]string
}

func byActor(trace json.RawMessage) map[string][]string {
	lines := map[string][]string{}
	var flat []string
	if json.Unmarshal(trace, &flat) != nil {
		_ = json.Unmarshal(trace, &lines)
		return lines
	}
	for _, line := range flat {
		actor, what, _ := strings.Cut(line, ":")
		lines[actor] = append(lines[actor], what)
	}
	return lines
}

func recordedTraces(t testing.TB) []recorded {
	text, err := os.ReadFile("testdata/traces.json")
	require.NoError(t, err)
	var entries []struct {
		recorded
		Trace        json.RawMessage
		TraceSince22 json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &entries))
	var all []recorded
	for _, e := range entries {
		if e.TraceSince22 != nil {
			e.Trace = e.TraceSince22
		}
		e.recorded.lines = byActor(e.Trace)
		all = append(all, e.recorded)
	}
	return all
}

func TestTraces(t *testing.T) {
	scenarios := map[string]scenario{}
	for _, group := range []map[string]scenario{
		connectScenarios, endScenarios, destroyScenarios, writeScenarios, readScenarios,
		timeoutScenarios, pipeScenarios, serverScenarios, emitterScenarios, lessonScenarios,
	} {
		for name, s := range group {
			require.NotContains(t, scenarios, name)
			scenarios[name] = s
		}
	}
	all := recordedTraces(t)
	require.Len(t, all, 168)
	var same, differ, inapplicable int
	for _, rec := range all {
		s, ok := scenarios[rec.Name]
		if !ok {
			require.Contains(t, notApplicable, rec.Name, "neither played nor explained")
			inapplicable++
			continue
		}
		delete(scenarios, rec.Name)
		if s.why == "" {
			same++
		} else {
			differ++
		}
		t.Run(rec.Name, func(t *testing.T) {
			if rec.Platform == "linux" && !onLinux {
				t.Skip("recorded on Linux; the kernel decides")
			}
			r := newRig(t)
			s.play(r)
			run(t, r.l)
			want := rec.lines
			if s.why != "" {
				want = map[string][]string{}
				for _, line := range strings.Split(strings.TrimSpace(s.want), "\n") {
					actor, what, _ := strings.Cut(strings.TrimSpace(line), ":")
					want[actor] = append(want[actor], what)
				}
				for actor, lines := range rec.lines {
					if _, ok := want[actor]; !ok {
						want[actor] = lines
					}
				}
				same := true
				for actor := range want {
					same = same && assert.ObjectsAreEqual(normal(rec.lines[actor]), normal(want[actor]))
				}
				assert.False(t, same, "marked as a difference, but it is none: %s", s.why)
			}
			for actor := range want {
				assert.Equal(t, normal(want[actor]), normal(r.lines[actor]), "trace of %s", actor)
			}
		})
	}
	assert.Empty(t, scenarios, "scenarios without a recorded trace")
	t.Logf("%d traces as Node, %d with a deliberate difference, %d without a counterpart", same, differ, inapplicable)
	for name, claim := range map[string]string{
		"README.md":       "%d come out line for line, %d differ on purpose\n(each says why, and the package documentation lists the differences), and %d are",
		"README.pt-BR.md": "%d saem linha por linha, %d diferem de propósito\n(cada uma diz por quê, e a documentação do pacote lista as diferenças) e %d tratam",
	} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Contains(t, string(text), fmt.Sprintf(claim, same, differ, inapplicable))
	}
}
