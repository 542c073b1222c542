// Trace shows every event of a connection as it happens, a line each on a timeline: of a server, of a client, or, without
// -listen and -connect, of both sides of one connection within this program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: trace [flags]

Prints each event of a connection as it happens. With -connect what you type is sent, and the end of the input ends this
side; with -listen what comes is sent back. Without either, both sides are in here: a server that greets and sends
back, and a client that says one line and ends.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "be an echo server at this `address`; port 0 takes a free one")
	connect := flag.String("connect", "", "be a client of this `address`")
	network := flag.String("network", "tcp", "tcp or unix")
	idle := flag.Duration("idle", 0, "emit timeout when nothing happens for so long; 0: never")
	halfOpen := flag.Bool("half-open", false, "do not end this side when the peer ends")
	bytes := flag.Int("bytes", 40, "show so many `bytes` of each chunk")
	colour := flag.String("color", "auto", "auto, always or never")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		misused("trace takes no argument", flag.Arg(0))
	case *listen != "" && *connect != "":
		misused("give -listen or -connect, not both")
	case *idle < 0:
		misused("-idle is negative:", *idle)
	case *bytes < 0:
		misused("-bytes is negative:", *bytes)
	case *network != "tcp" && *network != "unix":
		misused("-network is tcp or unix, not", *network)
	case *network == "unix" && *listen == "" && *connect == "":
		misused("-network unix takes -listen or -connect")
	case *colour != "auto" && *colour != "always" && *colour != "never":
		misused("-color is auto, always or never, not", *colour)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	line := newTimeLine(os.Stdout, *colour, *bytes)
	evnet.DefaultLoop.SetTracer(line.show)
	side := sides{network: *network, idle: *idle, halfOpen: *halfOpen}
	switch {
	case *listen != "":
		line.name = "socket"
		if _, err := side.server(*listen); err != nil {
			log.Fatalln(err)
		}
		if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
			log.Fatalln(err)
		}
	case *connect != "":
		client := side.client(ctx, *connect)
		go send(client, os.Stdin)
		run(client)
	default:
		server, err := side.server("127.0.0.1:0")
		if err != nil {
			log.Fatalln(err)
		}
		client := side.client(ctx, server.Address().String())
		_, _ = client.WriteString("hello\n")
		client.On.Data(func(chunk []byte) {
			if len(chunk) > 0 && chunk[len(chunk)-1] == '\n' { // its own line has come back
				client.End()
			}
		})
		client.On.Close(func(bool) { _ = server.Close(nil) })
		run(client)
	}
}

func misused(problem ...any) {
	log.Println(problem...)
	log.Println("trace -h tells the flags")
	os.Exit(2)
}

// run ends the program with 1 if the client has failed: the timeline has said why.
func run(client *evnet.Socket) {
	evnet.Run()
	if err := client.Err(); err != nil && !errors.Is(err, context.Canceled) {
		os.Exit(1)
	}
}

// sides makes the two sides of a connection.
type sides struct {
	network  string
	idle     time.Duration
	halfOpen bool
}

func (o sides) server(address string) (*evnet.Server, error) {
	server := evnet.NewServer(&evnet.ServerOptions{AllowHalfOpen: o.halfOpen})
	server.On.Connection(func(c *evnet.Socket) {
		_ = c.SetTimeout(o.idle)
		c.On.Error(func(error) {}) // the timeline shows it
		_, _ = c.WriteString("welcome: ")
		c.Pipe(c)
	})
	return server, server.Listen(o.network, address, nil)
}

func (o sides) client(ctx context.Context, address string) *evnet.Socket {
	client := evnet.NewSocket(&evnet.SocketOptions{AllowHalfOpen: o.halfOpen, Context: ctx})
	_ = client.SetTimeout(o.idle)
	client.On.Error(func(error) {})
	client.Resume() // also without a listener: Data is shown
	client.Connect(o.network, address)
	return client
}

// send writes what is typed. It is on a goroutine of its own, for a terminal keeps Read waiting.
func send(client *evnet.Socket, from io.Reader) {
	if _, err := io.Copy(client, from); err != nil && !client.Destroyed() {
		log.Println(err)
	}
	client.End()
}
