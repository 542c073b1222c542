// Timeout shows each timeout of evnet: its server has a flag for each, its client keeps silent, or speaks every so
// often. Each connection ends with a line that says which timeout it was.
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

A server that gives its clients so much time and no more, and with -connect a client that takes its time. 0 switches
a timeout off.

`

// options are what the flags say.
type options struct {
	listen                               string
	ask, idle, firstByte, end, handshake time.Duration

	connect       string
	within, every time.Duration
	say           string
	stay          bool
}

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8084", "server: its `address`; port 0 takes a free one")
	flag.DurationVar(&o.ask, "ask", 10*time.Second, "server: SetTimeout. After so much silence it asks, after as much again it says goodbye")
	flag.DurationVar(&o.idle, "idle", time.Minute, "server: IdleTimeout. So much silence, and it cuts the client off")
	flag.DurationVar(&o.firstByte, "first-byte", 5*time.Second, "server: FirstByteTimeout. The first byte must come within that")
	flag.DurationVar(&o.end, "close", 5*time.Second, "server: CloseTimeout. After its goodbye, the client's end must come within that")
	flag.DurationVar(&o.handshake, "handshake", 0, "server: speak TLS, with this HandshakeTimeout. The handshake must be done within that")
	flag.StringVar(&o.connect, "connect", "", "be a client, of the server at this `address`")
	flag.DurationVar(&o.within, "within", 10*time.Second, "client: the deadline of the context that it connects with")
	flag.DurationVar(&o.every, "every", 0, "client: how often to speak; 0 is never")
	flag.StringVar(&o.say, "say", "I am here", "client: what to say then")
	flag.BoolVar(&o.stay, "stay", false, "client: AllowHalfOpen, and never end")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	o.check()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.connect != "" {
		o.call(ctx)
	} else {
		o.serve(ctx)
	}
}

// check ends the program if the flags make no sense.
func (o *options) check() {
	misused := func(problem ...any) {
		log.Println(problem...)
		log.Println("timeout -h tells the flags")
		os.Exit(2)
	}
	if flag.NArg() > 0 {
		misused("timeout takes no argument", flag.Arg(0))
	}
	client := map[string]bool{"connect": true, "within": true, "every": true, "say": true, "stay": true}
	flag.Visit(func(f *flag.Flag) {
		if d, ok := f.Value.(flag.Getter).Get().(time.Duration); ok && d < 0 {
			misused("-"+f.Name, "is negative:", d)
		}
		switch mine := client[f.Name]; {
		case o.connect == "" && mine:
			misused("-"+f.Name, "is for a client, which needs the address to -connect to")
		case o.connect != "" && !mine:
			misused("-"+f.Name, "is for a server, and -connect makes a client")
		}
	})
}

// timeline prints what happens on one connection, with the seconds since it began.
type timeline struct {
	name  string
	began time.Time
}

func (t timeline) say(what ...any) {
	seconds := fmt.Sprintf("%4.1fs", time.Since(t.began).Seconds())
	printable.Println(append([]any{t.name, seconds}, what...)...)
}

// cause says which timeout has ended a connection, "" if none has.
func cause(err error) string {
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
		return "the context of ConnectContext"
	}
	return op.Op
}

// over is the last line of a connection.
func (t timeline) over(c *evnet.Socket) {
	switch which := cause(c.Err()); {
	case which != "":
		t.say("timeout:", which)
	case c.Err() != nil:
		t.say("closed:", c.Err())
	default:
		t.say("closed, no timeout")
	}
}
