package conformance_test

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/conformance/scenario"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// player plays a script on evnet and records the traces of its actors. The player for Node is testdata/node/scenario.js.
type player struct {
	testing.TB
	l        *evnet.Loop
	lines    scenario.TraceLines
	objects  map[string]any // sockets and servers
	names    map[any]string
	blocks   map[string][]*scenario.Statement
	done     map[*scenario.Statement]bool // `when` statements that have run
	named    map[string][]evnet.Listener
	hidden   map[string]bool // "actor event"
	traffic  map[string]*traffic
	cancels  map[string]context.CancelFunc
	paths    map[string]string   // Unix paths of servers and connects
	accepted map[string]int      // accepted sockets by server
	addrs    map[string]net.Addr // the current or last addresses of servers
	unrefed  map[string]bool     // servers whose Close at the end of Run is omitted, because a Node process just ends
	dir      string
	over     bool
	medium   *medium // nil: TCP
	memory   memoryNet
	ms       time.Duration
	realTime bool // waits use real time, in scripts with timeouts and in a bubble
	clock    clock

	unaccepted int  // connects minus accepts
	emitting   bool // the Timeout of `emit` is pending
}

// env has the values that a block may use in braces.
type env map[string]any

func (e env) with(more env) env {
	all := env{}
	for k, v := range e {
		all[k] = v
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func newPlayer(t testing.TB) *player {
	p := &player{
		TB: t, l: evnet.NewLoop(), lines: scenario.TraceLines{}, objects: map[string]any{}, names: map[any]string{},
		blocks: map[string][]*scenario.Statement{}, done: map[*scenario.Statement]bool{}, named: map[string][]evnet.Listener{},
		hidden: map[string]bool{}, traffic: map[string]*traffic{}, cancels: map[string]context.CancelFunc{},
		paths: map[string]string{}, accepted: map[string]int{}, addrs: map[string]net.Addr{}, unrefed: map[string]bool{},
		ms: ms, clock: clock{attempts: map[any]bool{}},
	}
	kit.SetTracer(p.l, p.traced)
	return p
}

// play plays the whole script, until nothing is open. A nil medium is TCP. stretch multiplies the time of timeouts.
func play(t testing.TB, s *scenario.Script, over *medium, stretch int) scenario.TraceLines {
	p := newPlayer(t)
	p.medium = over
	virtual := over != nil && over.virtual
	p.realTime = virtual || s.Timed()
	if p.realTime && !virtual {
		p.ms *= time.Duration(stretch)
	}
	p.run(s.Steps, env{})
	kit.Run(t, p.l)
	for _, cancel := range p.cancels {
		cancel()
	}
	return p.lines
}

func (p *player) note(actor, text string) {
	if !p.over {
		p.lines[actor] = append(p.lines[actor], text)
	}
}

func (p *player) traced(emitter any, event string, args ...any) {
	switch {
	case p.over:
	case event == "timeout" && p.emitting:
		p.emitting = false
		p.l.Unref()
	case event == "connect": // keep the loop running until the peer is accepted
		if p.unaccepted++; p.unaccepted == 1 {
			p.l.Ref()
		}
	case event == "connection" || event == "drop" || event == "tlsClientError":
		if p.unaccepted--; p.unaccepted == 0 {
			p.l.Unref()
		}
	}
	p.follow(emitter, event, args)
	if event == "connection" {
		p.accepted[p.names[emitter]]++
		p.names[args[0]] = "" // its listener may name it later
		args = nil
	}
	name := p.names[emitter]
	if name == "" {
		return
	}
	if event == "data" {
		p.traffic[name].count(args[0].([]byte))
	}
	if !p.hidden[name+" "+event] && !(event == "close" && p.unrefed[name]) {
		p.note(name, describe(emitter, event, args))
	}
}

func (p *player) watch(name string, object any) {
	p.objects[name], p.names[object] = object, name
	p.traffic[name] = &traffic{}
}

func (p *player) place(name string) string {
	if p.dir == "" {
		p.dir = evtest.SocketDir(p)
	}
	return filepath.Join(p.dir, name)
}

// outcome is the way in which a block ends: "return", "break", or "" at its end.
type outcome struct {
	word  string
	value bool
}

func (p *player) run(block []*scenario.Statement, e env) outcome {
	for _, st := range block {
		if out := p.step(st, e); out.word != "" {
			return out
		}
	}
	return outcome{}
}

func (p *player) then(block []*scenario.Statement, e env) func() { return func() { p.run(block, e) } }

func (p *player) step(st *scenario.Statement, e env) outcome {
	verb, args := st.Words[0], st.Words[1:]
	switch verb {
	case "server":
		p.makeServer(args)
	case "socket":
		p.makeSocket(args)
	case "start":
		p.listen(args[0], scenario.ParseOptions(args[1:]), nil, e)
		require.Equal(p, "ok", e["result"])
		p.unref(args[0])
	case "stale":
		evtest.LeaveStale(p, p.place(args[0]))
	case "silent":
		require.Equal(p, "127.0.0.3", args[0]) // always silent
	case "define":
		p.blocks[args[0]] = st.Block
	case "show": // events that only Node has
	case "hide":
		for _, event := range args[1:] {
			p.hidden[args[0]+" "+event] = true
		}
	case "log":
		p.note(args[0], p.fill(st.Text, e))
	case "after":
		p.after(number(args[0]), p.then(st.Block, e))
	case "tick", "immediate":
		p.l.Post(p.then(st.Block, e))
	case "every":
		times := -1
		if len(args) > 1 {
			times = number(args[1])
		}
		p.every(st, number(args[0]), times, e)
	case "settled":
		p.settled(st, p.socket(args[0]), -1, e)
	case "iterate":
		p.iterate(st, p.socket(args[0]), args[1], e)
	case "if":
		if p.holds(args, e) {
			return p.run(st.Block, e)
		}
	case "when":
		if !p.done[st] && p.holds(args, e) {
			p.done[st] = true
			return p.run(st.Block, e)
		}
	case "throw":
		panic(evtest.Boom(args[0]))
	case "return":
		return outcome{"return", args[0] != "false"}
	case "break":
		return outcome{word: "break"}
	case "stop":
		p.stop()
	default:
		name, method, _ := strings.Cut(verb, ".")
		e["result"] = "ok"
		switch o := p.objects[name].(type) {
		case *evnet.Socket:
			p.onSocket(o, name, method, args, st, e)
		case *evnet.Server:
			p.onServer(o, name, method, args, st, e)
		default:
			require.Fail(p, "unknown object", "line %d: %s", st.Line, verb)
		}
	}
	return outcome{}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func (p *player) socket(name string) *evnet.Socket { return p.objects[name].(*evnet.Socket) }
func (p *player) server(name string) *evnet.Server { return p.objects[name].(*evnet.Server) }

// stop ends a scenario that would continue. Nothing more is recorded.
func (p *player) stop() {
	if p.over {
		return
	}
	p.over = true
	if p.unaccepted > 0 {
		p.l.Unref()
	}
	for o := range p.names {
		switch o := o.(type) {
		case *evnet.Socket:
			o.Destroy(nil)
		case *evnet.Server:
			_ = o.Close(nil)
		}
	}
}

func (p *player) every(st *scenario.Statement, wait, times int, e env) {
	if p.over || times == 0 {
		return
	}
	p.run(st.Block, e)
	p.after(wait, func() { p.every(st, wait, times-1, e) })
}

// unref lets the scenario end while a server listens. Run then closes the server and emits Close. A Node process
// just ends, without an event.
func (p *player) unref(name string) {
	p.server(name).Unref()
	p.unrefed[name] = true
}

// settled runs the block after the socket has read data, and then none for a while.
func (p *player) settled(st *scenario.Statement, c *evnet.Socket, last int64, e env) {
	if now := c.BytesRead(); now > 0 && now == last {
		p.run(st.Block, e)
		return
	}
	last = c.BytesRead()
	p.after(50, func() { p.settled(st, c, last, e) })
}

func (p *player) makeServer(args []string) {
	o := scenario.ParseOptions(args[1:])
	opts := &evnet.ServerOptions{Loops: []*evnet.Loop{p.l}, AllowHalfOpen: o["halfOpen"] != "", PauseOnConnect: o["pauseOnConnect"] != ""}
	opts.MaxWriteBuffer = -1 // as in Node
	if o["maxConnections"] != "" {
		opts.MaxConnections = number(o["maxConnections"])
	}
	if p.medium != nil && p.medium.server != nil {
		p.medium.server(opts)
	}
	p.watch(args[0], evnet.NewServer(opts))
}

func (p *player) makeSocket(args []string) {
	name, o := args[0], scenario.ParseOptions(args[1:])
	opts := &evnet.SocketOptions{
		Loop: p.l, AllowHalfOpen: o["halfOpen"] != "", NoAutoSelectFamily: o["autoSelectFamily"] == "off",
		Dialer: evtest.UnresponsiveDialer(), AttemptDelay: evtest.Patience,
		MaxWriteBuffer: -1, // as in Node
	}
	switch o["highWaterMark"] {
	case "":
	case "0":
		opts.HighWaterMark = -1
	default:
		opts.HighWaterMark = number(o["highWaterMark"])
	}
	switch o["lookup"] {
	case "":
	case "never":
		opts.Resolver = evtest.NeverResolves{}
	case "ENOTFOUND":
		opts.Resolver = evtest.Resolver{Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
	default:
		opts.Resolver = evtest.IPs(strings.Split(o["lookup"], ",")...)
	}
	if o["family"] != "" {
		opts.Family = number(o["family"])
	}
	if o["attemptTimeout"] != "" {
		opts.AttemptDelay = time.Duration(number(o["attemptTimeout"])) * p.ms
	}
	if o["signal"] != "" {
		opts.Context, p.cancels[name] = context.WithCancel(context.Background())
	}
	if p.medium != nil && p.medium.socket != nil {
		p.medium.socket(p, opts)
	}
	c := evnet.NewSocket(opts)
	p.watch(name, c)
	if block := p.blocks[o["onread"]]; block != nil {
		c.OnRead(func(b []byte) bool {
			out := p.run(block, env{"length": len(b), "chunk": string(b)})
			return out.word == "" || out.value
		})
	}
	if o["timeout"] != "" {
		require.NoError(p, c.SetTimeout(time.Duration(number(o["timeout"]))*p.ms))
	}
}

// abort cancels a context and waits until the cancellation was reported, on a separate goroutine.
func (p *player) abort(name string) {
	p.cancels[name]()
	for {
		switch o := p.objects[name].(type) {
		case *evnet.Socket:
			if o.Destroyed() {
				return
			}
		case *evnet.Server:
			if !o.Listening() {
				return
			}
		}
		runtime.Gosched()
	}
}

// iterate ranges over the chunks on a separate goroutine, and runs the block for each on the loop. If the iteration
// ends by itself, the named block runs after Close, so that its place in the trace is fixed.
func (p *player) iterate(st *scenario.Statement, c *evnet.Socket, after string, e env) {
	closed := make(chan struct{})
	c.On.Close(func(bool) { close(closed) })
	p.l.Ref()
	go func() {
		defer p.l.Unref()
		left := false
		var failed error
		for chunk, err := range c.Chunks() {
			if failed = err; err != nil {
				break
			}
			p.l.Do(func() { left = p.run(st.Block, e.with(env{"chunk": string(chunk)})).word == "break" })
			if left {
				break
			}
		}
		if !left {
			<-closed
		}
		p.l.Do(p.then(p.blocks[after], e.with(env{"result": codeOf(failed)})))
	}()
}
