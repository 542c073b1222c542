// Trace prints every event of a connection as it is emitted, one per line, on a timeline. It traces a server, a client,
// or, without -listen and -connect, both sides of one connection in this program.
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

Prints each event of a connection as it is emitted. With -connect it sends the standard input and ends its side when
the input ends. With -listen it is an echo server that sends a greeting. Without either it runs both sides: this server,
and a client that sends one line and ends.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("trace: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "run an echo server at this `address`; port 0 takes a free one")
	connect := flag.String("connect", "", "run a client of the server at this `address`")
	network := flag.String("network", "tcp", "tcp or unix")
	idle := flag.Duration("idle", 0, "emit timeout after this long without data; 0 for never")
	halfOpen := flag.Bool("half-open", false, "keep this side open when the peer ends")
	bytes := flag.Int("bytes", 40, "number of `bytes` to print of each chunk")
	colour := flag.String("color", "auto", "when to print in colours: auto, always or never")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		usageError("unexpected argument %q", flag.Arg(0))
	case *listen != "" && *connect != "":
		usageError("-listen and -connect cannot be used together")
	case *idle < 0:
		usageError("-idle must not be negative: %v", *idle)
	case *bytes < 0:
		usageError("-bytes must not be negative: %d", *bytes)
	case *network != "tcp" && *network != "unix":
		usageError("-network must be tcp or unix, not %q", *network)
	case *network == "unix" && *listen == "" && *connect == "":
		usageError("-network unix requires -listen or -connect")
	case *colour != "auto" && *colour != "always" && *colour != "never":
		usageError("-color must be auto, always or never, not %q", *colour)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	events := newTimeline(os.Stdout, *colour, *bytes)
	evnet.DefaultLoop.SetTracer(events.print)
	o := sides{network: *network, idle: *idle, halfOpen: *halfOpen}
	switch {
	case *listen != "":
		events.name = "socket"
		if _, err := o.server(*listen); err != nil {
			log.Fatalln(err)
		}
		if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
			log.Fatalln(err)
		}
	case *connect != "":
		client := o.client(ctx, *connect)
		go send(client, os.Stdin)
		run(client)
	default:
		server, err := o.server("127.0.0.1:0")
		if err != nil {
			log.Fatalln(err)
		}
		client := o.client(ctx, server.Address().String())
		_, _ = client.WriteString("hello\n")
		client.On.Data(func(chunk []byte) {
			if len(chunk) > 0 && chunk[len(chunk)-1] == '\n' { // the echo of its line is complete
				client.End()
			}
		})
		client.On.Close(func(bool) { _ = server.Close(nil) })
		run(client)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}

// run runs the loop and exits with 1 if the client has failed. The timeline shows the reason.
func run(client *evnet.Socket) {
	evnet.Run()
	if err := client.Err(); err != nil && !errors.Is(err, context.Canceled) {
		os.Exit(1)
	}
}

// sides creates the two sides of a connection.
type sides struct {
	network  string
	idle     time.Duration
	halfOpen bool
}

func (o sides) server(address string) (*evnet.Server, error) {
	server := evnet.NewServer(&evnet.ServerOptions{AllowHalfOpen: o.halfOpen})
	server.On.Connection(func(c *evnet.Socket) {
		_ = c.SetTimeout(o.idle)
		c.On.Error(func(error) {}) // the timeline prints it
		_, _ = c.WriteString("welcome: ")
		c.Pipe(c)
	})
	return server, server.Listen(o.network, address, nil)
}

func (o sides) client(ctx context.Context, address string) *evnet.Socket {
	client := evnet.NewSocket(&evnet.SocketOptions{AllowHalfOpen: o.halfOpen, Context: ctx})
	_ = client.SetTimeout(o.idle)
	client.On.Error(func(error) {})
	client.Resume() // starts the flow without a Data listener
	client.Connect(o.network, address)
	return client
}

// send writes the input to the client. It runs on its own goroutine because Read on a terminal blocks.
func send(client *evnet.Socket, from io.Reader) {
	if _, err := io.Copy(client, from); err != nil && !client.Destroyed() {
		log.Println(err)
	}
	client.End()
}
