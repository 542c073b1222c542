package watch_test

import (
	"fmt"
	"log/slog"
	"os"

	"evnet"
	"evnet/watch"
)

// echo sends "hi" to an echo server on l, and closes both sockets after the answer.
func echo(l *evnet.Loop) {
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	server.On.Connection(func(c *evnet.Socket) {
		c.Pipe(c)
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	client.On.Data(func([]byte) { client.End() })
	client.Connect("tcp", server.Address().String())
	_, _ = client.WriteString("hi")
	l.Run()
}

func ExampleSlog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, "local", "remote": // which differ each time
				return slog.Attr{}
			}
			return a
		},
	}))
	onlyData := func(tracer evnet.Tracer) evnet.Tracer {
		return func(ev evnet.TraceEvent) {
			if ev.Name == evnet.EventData {
				tracer(ev)
			}
		}
	}
	l := evnet.NewLoop()
	l.SetTracer(onlyData(watch.Slog(logger, slog.LevelInfo)))
	echo(l)
	// Output:
	// msg=data bytes=2
	// msg=data bytes=2
}

func ExampleCounters() {
	counters := &watch.Counters{}
	l := evnet.NewLoop()
	l.SetTracer(counters.Trace) // and expvar.Publish("evnet", counters), for /debug/vars
	echo(l)
	now := counters.Counts()
	fmt.Println(now.Open, "open", now.BytesRead, "bytes read", now.Events["close"], "closed")
	// Output:
	// 0 open 4 bytes read 2 closed
}

func ExampleJoin() {
	counters := &watch.Counters{}
	l := evnet.NewLoop()
	l.SetTracer(watch.Join(counters.Trace, func(ev evnet.TraceEvent) {
		if ev.Name == evnet.EventConnect {
			fmt.Println("connected")
		}
	}))
	echo(l)
	// Output:
	// connected
}
