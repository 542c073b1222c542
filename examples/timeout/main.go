// Timeout shows SetTimeout and the timeouts that destroy a socket. Its server has a flag for each, its client stays
// silent or sends a line at an interval. The last line of each connection says which timeout closed it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: timeout [flags]

A server with a timeout for each phase of a connection and, with -connect, a client that stays silent or sends a line
at an interval. 0 switches a timeout off.

`

// options holds the values of the flags.
type options struct {
	listen                                 string
	ask, idle, firstByte, close, handshake time.Duration

	connect       string
	within, every time.Duration
	say           string
	stay          bool
}

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("timeout: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8084", "server: `address` to listen on; port 0 takes a free one")
	flag.DurationVar(&o.ask, "ask", 10*time.Second, "server: SetTimeout: ask the client after this long without activity, say goodbye after as long again")
	flag.DurationVar(&o.idle, "idle", time.Minute, "server: IdleTimeout: close a connection after this long without activity")
	flag.DurationVar(&o.firstByte, "first-byte", 5*time.Second, "server: FirstByteTimeout: close a connection whose client sends no byte for this long after the accept")
	flag.DurationVar(&o.close, "close", 5*time.Second, "server: CloseTimeout: close a connection whose client does not end within this time after the goodbye")
	flag.DurationVar(&o.handshake, "handshake", 0, "server: HandshakeTimeout: use TLS and close a connection whose handshake takes longer")
	flag.StringVar(&o.connect, "connect", "", "run a client of the server at this `address`")
	flag.DurationVar(&o.within, "within", 10*time.Second, "client: timeout of the context for connecting; 0 for none")
	flag.DurationVar(&o.every, "every", 0, "client: interval at which to send a line; 0 for never")
	flag.StringVar(&o.say, "say", "I am here", "client: the `line` to send")
	flag.BoolVar(&o.stay, "stay", false, "client: set AllowHalfOpen and never end")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	o.check()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.connect != "" {
		o.runClient(ctx)
	} else {
		o.runServer(ctx)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}

// check exits with a usage error if the flags are invalid.
func (o *options) check() {
	if flag.NArg() > 0 {
		usageError("unexpected argument %q", flag.Arg(0))
	}
	clientFlags := map[string]bool{"connect": true, "within": true, "every": true, "say": true, "stay": true}
	flag.Visit(func(f *flag.Flag) {
		if d, ok := f.Value.(flag.Getter).Get().(time.Duration); ok && d < 0 {
			usageError("-%s must not be negative: %v", f.Name, d)
		}
		switch ofClient := clientFlags[f.Name]; {
		case o.connect == "" && ofClient:
			usageError("-%s is a client flag and requires -connect", f.Name)
		case o.connect != "" && !ofClient:
			usageError("-%s is a server flag and cannot be used with -connect", f.Name)
		}
	})
}

// timeline prints the events of one connection with the seconds since its start.
type timeline struct {
	name  string
	start time.Time
}

func (t timeline) print(event ...any) {
	seconds := fmt.Sprintf("%4.1fs", time.Since(t.start).Seconds())
	printable.Println(append([]any{t.name, seconds}, event...)...)
}

// closedBy returns the name of the timeout that has closed a connection, or "" if none has.
func closedBy(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	switch op.Op {
	case "first byte":
		return "FirstByteTimeout"
	case "idle":
		return "IdleTimeout"
	case "close":
		return "CloseTimeout"
	case "handshake":
		return "HandshakeTimeout"
	case "dial":
		return "context of ConnectContext"
	}
	return op.Op
}

// printClosed prints the last line of a connection.
func (t timeline) printClosed(c *evnet.Socket) {
	switch timeout := closedBy(c.Err()); {
	case timeout != "":
		t.print("closed:", timeout)
	case c.Err() != nil:
		t.print("closed:", c.Err())
	default:
		t.print("closed: no timeout")
	}
}
