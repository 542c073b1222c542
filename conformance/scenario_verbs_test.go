package conformance_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"evnet"
	"evnet/conformance/scenario"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// The statements and values of sockets.

var braces = regexp.MustCompile(`\{([^}]+)\}`)

// fill replaces {object.property} and {argument}.
func (p *player) fill(text string, e env) string {
	return braces.ReplaceAllStringFunc(text, func(word string) string {
		return fmt.Sprint(p.value(word[1:len(word)-1], e))
	})
}

func (p *player) value(name string, e env) any {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) == 1 {
		if v, ok := e[name]; ok {
			return v
		}
		return name
	}
	arg := ""
	if len(parts) == 3 {
		arg = parts[2]
	}
	switch o := p.objects[parts[0]].(type) {
	case *evnet.Socket:
		return p.socketValue(o, parts[0], parts[1], arg)
	case *evnet.Server:
		return p.serverValue(o, parts[0], parts[1], arg)
	}
	require.Fail(p, "unknown object", name)
	return nil
}

func (p *player) holds(words []string, e env) bool {
	left, op, right := p.value(words[0], e), words[1], words[2]
	switch op {
	case "==":
		return fmt.Sprint(left) == right
	case "!=":
		return fmt.Sprint(left) != right
	case ">=":
		return number(fmt.Sprint(left)) >= number(right)
	case "<":
		return number(fmt.Sprint(left)) < number(right)
	}
	panic("unknown condition " + strings.Join(words, " "))
}

func (p *player) socketValue(c *evnet.Socket, name, prop, arg string) any {
	switch prop {
	case "readyState":
		return c.ReadyState()
	case "connecting":
		return c.Connecting()
	case "pending":
		return c.Pending()
	case "closed":
		return c.Closed()
	case "readable":
		return c.Readable()
	case "writable":
		return c.Writable()
	case "readableEnded":
		return c.ReadableEnded()
	case "writableEnded":
		return c.WritableEnded()
	case "writableFinished":
		return c.WritableFinished()
	case "readableFlowing":
		switch {
		case c.Flowing():
			return true
		case c.Paused():
			return false
		}
		return "null"
	case "destroyed":
		return c.Destroyed()
	case "errored":
		if c.Err() == nil {
			return "null"
		}
		return codeOf(c.Err())
	case "isPaused":
		return c.Paused()
	case "allowHalfOpen":
		return c.AllowHalfOpen()
	case "isServed":
		return c.Server() != nil && c.Server() == p.objects[arg]
	case "bytesRead":
		return c.BytesRead()
	case "bytesWritten":
		return c.BytesWritten()
	case "readableLength":
		return c.ReadableLength()
	case "writableLength":
		return c.BufferedAmount()
	case "writableNeedDrain":
		return c.NeedDrain()
	case "writableCorked":
		return c.Corked()
	case "timeout":
		return int(c.Timeout() / p.ms)
	case "received":
		return p.traffic[name].received
	case "text":
		return p.traffic[name].text
	case "inOrder":
		return !p.traffic[name].wrong
	case "listeners":
		return c.ListenerCount(evnet.Event(arg))
	case "attempted":
		var texts []string
		for _, a := range c.AttemptedAddresses() {
			host, _, _ := net.SplitHostPort(a)
			texts = append(texts, host+":PORT")
		}
		if texts == nil {
			return "undefined"
		}
		return strings.Join(texts, " ")
	case "localPort", "remotePort":
		if c.LocalAddr() == nil {
			return "undefined"
		}
		return "PORT"
	}
	require.Fail(p, "unknown property", "%s.%s", name, prop)
	return nil
}

// blockOf returns a statement's own block, or the block that it names.
func (p *player) blockOf(st *scenario.Statement, name string) []*scenario.Statement {
	if len(st.Block) > 0 {
		return st.Block
	}
	return p.blocks[name]
}

func last(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[len(args)-1]
}

func (p *player) onSocket(c *evnet.Socket, name, method string, args []string, st *scenario.Statement, e env) {
	switch method {
	case "on":
		p.listener(c.On, name, args, st, e)
	case "once":
		p.listener(c.Once, name, args, st, e)
	case "prepend":
		p.listener(c.Prepend, name, args, st, e)
	case "off":
		key := name + " " + strings.Join(args, " ")
		all := p.named[key]
		all[len(all)-1].Off()
		p.named[key] = all[:len(all)-1]
	case "removeAllListeners":
		c.RemoveAllListeners()
	case "emit": // there is no public emit: emulate it with Timeout
		defer func() {
			if value := recover(); value != nil {
				e["result"] = value
				c.On.Error(func(error) {}) // the error is the socket's own in evnet
				p.hidden[name+" error"], p.hidden[name+" close"] = true, true
			}
		}()
		p.emitting = true
		p.l.Ref() // until traced handles it
		c.SetTimeout(time.Nanosecond)
		p.l.Run()
	case "connect":
		p.connect(c, args, st, e)
	case "abort":
		p.abort(name)
	case "receive":
		c.On.Data(func(b []byte) { p.run(st.Block, e.with(env{"chunk": string(b)})) })
	case "echo":
		_, err := c.Write(e["raw"].([]byte))
		require.NoError(p, err)
	case "write", "end":
		p.write(c, method, args, st, e)
	case "pump":
		p.pump(c, len(scenario.ParseData(args[0])), len(scenario.ParseData(args[1])))
	case "verify":
		p.traffic[name].verify = true
		c.On.Data(func([]byte) {})
	case "destroy":
		if len(args) > 0 {
			c.Destroy(evtest.Boom(args[0]))
		} else {
			c.Destroy(nil)
		}
	case "close":
		require.NoError(p, c.Close())
	case "reset":
		c.Reset()
	case "pipe":
		dst := p.socket(args[0])
		if scenario.ParseOptions(args[1:])["end"] == "false" {
			c.Pipe(struct{ *writer }{&writer{dst}}) // not a socket, so not ended
		} else {
			c.Pipe(dst)
		}
	case "unpipe":
		c.Unpipe(p.socket(args[0]))
		e["returned"] = true
	case "unshift":
		e["result"] = codeOf(c.Unshift(scenario.ParseData(args[0])))
	case "read": // there is no read: the data that a new consumer would get immediately
		e["chunk"] = "null"
	case "setTimeout":
		e["returned"] = true
		e["result"] = codeOf(c.SetTimeout(time.Duration(number(args[0])) * p.ms))
		p.timeoutListener(c, name, args, st, e)
	case "setEncoding":
		e["result"] = codeOf(c.SetEncoding(evnet.Encoding(args[0])))
	case "allowHalfOpen":
		c.SetAllowHalfOpen(true)
	case "pause":
		c.Pause()
	case "resume":
		c.Resume()
	case "cork":
		c.Cork()
	case "uncork":
		c.Uncork()
	case "ref":
		c.Ref()
	case "unref":
		c.Unref()
	default:
		require.Fail(p, "unknown verb", "line %d: %s", st.Line, method)
	}
}

// timeoutListener emulates the callback of Node's setTimeout: a one-time listener, which a time of 0 removes.
func (p *player) timeoutListener(c *evnet.Socket, name string, args []string, st *scenario.Statement, e env) {
	block := p.blockOf(st, last(args))
	key := name + " setTimeout " + last(args)
	switch {
	case block == nil || c.Destroyed():
	case args[0] != "0":
		p.named[key] = append(p.named[key], c.Once.Timeout(p.then(block, e)))
	case len(p.named[key]) > 0:
		p.named[key][0].Off()
	}
}

// listener registers a statement's block, or the block that it names, for an event.
func (p *player) listener(v evnet.SocketEvents, name string, args []string, st *scenario.Statement, e env) {
	block := p.blockOf(st, last(args))
	do := func(more env) { p.run(block, e.with(more)) }
	plain := func() { do(nil) }
	var l evnet.Listener
	switch args[0] {
	case "lookup":
		l = v.Lookup(func(evnet.Lookup) { plain() })
	case "connectionAttempt":
		l = v.ConnectionAttempt(func(evnet.Attempt) { plain() })
	case "connectionAttemptFailed":
		l = v.ConnectionAttemptFailed(func(_ evnet.Attempt, err error) { do(errorEnv(err)) })
	case "connect":
		l = v.Connect(plain)
	case "ready":
		l = v.Ready(plain)
	case "data":
		l = v.Data(func(b []byte) { do(env{"raw": b, "chunk": string(b), "length": len(b)}) })
	case "end":
		l = v.End(plain)
	case "finish":
		l = v.Finish(plain)
	case "drain":
		l = v.Drain(plain)
	case "timeout":
		l = v.Timeout(plain)
	case "error":
		l = v.Error(func(err error) { do(errorEnv(err)) })
	case "close":
		l = v.Close(func(bool) { plain() })
	default:
		require.Fail(p, "unknown event", "line %d: %s", st.Line, args[0])
	}
	key := name + " " + strings.Join(args, " ")
	p.named[key] = append(p.named[key], l)
}

func (p *player) connect(c *evnet.Socket, args []string, st *scenario.Statement, e env) {
	if len(st.Block) > 0 {
		c.Once.Connect(p.then(st.Block, e))
	}
	o := scenario.ParseOptions(args)
	network, address := "tcp", args[0]
	switch p.objects[args[0]].(type) {
	case *evnet.Server:
		network, address = p.addrs[args[0]].Network(), p.addrs[args[0]].String()
		if p.medium != nil {
			network, address = p.medium.dial(p, args[0])
		}
	default:
		switch {
		case o["path"] != "":
			network, address = "unix", p.place(o["path"])
		case address == "closed":
			address = evtest.ClosedPort(p)
		default:
			address += ":80"
		}
	}
	if o["host"] != "" {
		_, port, _ := net.SplitHostPort(address)
		address = net.JoinHostPort(o["host"], port)
	}
	c.Connect(network, address)
}

// write also emulates Node's end with data: a write, then End.
func (p *player) write(c *evnet.Socket, method string, args []string, st *scenario.Statement, e env) {
	if len(args) > 0 && p.blocks[args[0]] == nil {
		done := func(error) {}
		if block := p.blockOf(st, last(args)); block != nil && method == "write" {
			done = func(err error) { p.run(block, e.with(errorEnv(err))) }
		}
		taken := c.Writable() && c.ReadyState() != evnet.StateNew
		c.WriteThen(encoded(scenario.ParseData(args[0]), scenario.ParseOptions(args)["encoding"]), done)
		e["returned"] = taken && !c.NeedDrain()
	}
	if method == "end" {
		c.End()
	}
}

// pump writes total bytes of the pattern in pieces, waits for Drain, and ends.
func (p *player) pump(c *evnet.Socket, total, piece int) {
	sent := 0
	var send func()
	send = func() {
		for sent < total {
			chunk := make([]byte, min(piece, total-sent))
			for i := range chunk {
				chunk[i] = patternAt(sent + i)
			}
			sent += len(chunk)
			_, err := c.Write(chunk)
			require.NoError(p, err)
			if c.NeedDrain() {
				c.Once.Drain(send)
				return
			}
		}
		c.End()
	}
	send()
}

// writer hides that a destination of Pipe is a socket.
type writer struct{ s *evnet.Socket }

func (w *writer) Write(b []byte) (int, error) { return w.s.Write(b) }
