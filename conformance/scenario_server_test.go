package conformance_test

import (
	"context"
	"net"
	"os"

	"evnet"
	"evnet/conformance/scenario"

	"github.com/stretchr/testify/require"
)

// The statements and values of servers.

func (p *player) onServer(s *evnet.Server, name, method string, args []string, st *scenario.Statement, e env) {
	block := p.then(st.Block, e)
	switch method {
	case "on", "once":
		v := s.On
		if method == "once" {
			v = s.Once
		}
		switch args[0] {
		case "connection":
			v.Connection(func(c *evnet.Socket) {
				p.watch(args[1], c)
				block()
			})
		case "listening":
			v.Listening(block)
		case "close":
			v.Close(block)
		case "drop":
			v.Drop(func(evnet.Drop) { block() })
		case "error":
			v.Error(func(err error) { p.run(st.Block, e.with(errorEnv(err))) })
		default:
			require.Fail(p, "unknown event", "line %d: %s", st.Line, args[0])
		}
	case "listen":
		var onListening func()
		if len(st.Block) > 0 {
			onListening = block
		}
		p.listen(name, scenario.ParseOptions(args), onListening, e)
	case "close":
		var onClose func()
		if len(st.Block) > 0 {
			onClose = func() { p.run(st.Block, e.with(env{"result": "ok"})) }
		}
		e["result"] = codeOf(s.Close(onClose))
		delete(p.unrefed, name)
	case "abort":
		p.abort(name)
	case "getConnections":
		p.run(st.Block, e.with(env{"count": s.Connections(), "result": "null"}))
	case "ref":
		s.Ref()
	case "unref":
		p.unref(name)
	default:
		require.Fail(p, "unknown verb", "line %d: %s", st.Line, method)
	}
}

func (p *player) listen(name string, o map[string]string, onListening func(), e env) {
	s := p.server(name)
	network, address := "tcp", "127.0.0.1:0"
	switch {
	case o["path"] != "":
		network, address = "unix", p.place(o["path"])
		p.paths[name] = address
	case o["port"] != "":
		address = p.server(o["port"]).Address().String()
	case o["host"] != "":
		address = o["host"] + ":0"
	}
	ctx := context.Background()
	if o["signal"] != "" {
		ctx, p.cancels[name] = context.WithCancel(ctx)
	}
	var err error
	if p.medium != nil {
		err = p.medium.listen(p, name, onListening)
	} else {
		err = s.ListenContext(ctx, network, address, onListening)
	}
	for k, v := range errorEnv(err) {
		e[k] = v
	}
	if err == nil {
		p.addrs[name] = s.Address()
	}
	if o["unref"] != "" {
		p.unref(name)
	}
}

func (p *player) serverValue(s *evnet.Server, name, prop, arg string) any {
	switch prop {
	case "listening":
		return s.Listening()
	case "hasAddress":
		return s.Address() != nil
	case "address":
		if s.Address() == nil {
			return "null"
		}
		if tcp, ok := s.Address().(*net.TCPAddr); ok {
			return tcp.IP
		}
		if p.medium != nil {
			return "127.0.0.1"
		}
		require.Equal(p, p.paths[name], s.Address().String())
		return "PATH"
	case "accepted":
		return p.accepted[name]
	case "fileExists":
		_, err := os.Lstat(p.paths[name])
		return err == nil
	case "listeners":
		return s.ListenerCount(evnet.Event(arg))
	}
	require.Fail(p, "unknown property", "%s.%s", name, prop)
	return nil
}
