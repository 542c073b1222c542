// Halfopen shows the purpose of AllowHalfOpen. Its server sorts lines: it can answer only after its client has ended,
// and sends the answer slowly. With AllowHalfOpen the client gets the whole answer, without it only the first line.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: halfopen [flags]

A server that sorts the lines of its client. It can answer only after the client has ended its side. Without
-listen and -connect the program runs both server and client, first with AllowHalfOpen, then without.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("halfopen: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "run the server at this `address`; port 0 takes a free one")
	connect := flag.String("connect", "", "run a client of the server at this `address`: send the standard input, end, and print the answer")
	off := flag.Bool("off", false, "server: switch AllowHalfOpen off")
	pause := flag.Duration("pause", 200*time.Millisecond, "server: delay before each line of the answer")
	maxRequest := flag.Int("max", 1<<20, "server: maximum size of a request in bytes")
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
	case *pause < 0:
		usageError("-pause must not be negative: %v", *pause)
	case *maxRequest < 1:
		usageError("-max must be at least 1: %d", *maxRequest)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := sorter{pause: *pause, maxRequest: *maxRequest}
	switch {
	case *listen != "":
		serve(ctx, s, *listen, !*off)
	case *connect != "":
		send(ctx, *connect)
	default:
		runBoth(ctx, s)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}

func serve(ctx context.Context, s sorter, address string, halfOpen bool) {
	server := s.server(halfOpen)
	err := server.Listen("tcp", address, func() {
		printable.Println("server: listening on", server.Address())
	})
	if err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("server: closed")
}

// send sends the standard input at the pace of the server.
func send(ctx context.Context, address string) {
	c := client(ctx, address)
	go func() { // reading the standard input would block the loop
		if _, err := c.ReadFrom(os.Stdin); err != nil {
			c.Destroy(err)
		}
		c.End()
	}()
	evnet.Run()
	if c.Err() != nil {
		os.Exit(1)
	}
}

// runBoth runs a server and a client in one process: first with AllowHalfOpen, then without.
func runBoth(ctx context.Context, s sorter) {
	for _, halfOpen := range []bool{true, false} {
		printable.Println("AllowHalfOpen:", halfOpen)
		server := s.server(halfOpen)
		if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
			log.Fatalln(err)
		}
		c := client(ctx, server.Address().String())
		c.On.Close(func(bool) {
			_ = server.Close(nil)
			server.CloseAllConnections() // one is open only after an interrupt
		})
		_, _ = c.WriteString("pear\napple\nfig\n") // sent when the socket is connected
		c.End()                                    // takes effect after that write
		evnet.Run()                                // returns when both are closed
		if c.Err() != nil {
			os.Exit(1)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

var errIncomplete = errors.New("send request: the server ended the connection before the request was complete")

// client connects to address. It prints its events and the received lines. The end of ctx closes it.
func client(ctx context.Context, address string) *evnet.Socket {
	c := evnet.Connect("tcp", address, nil)
	say := func(what ...any) { printable.Println(append([]any{"client:"}, what...)...) }
	c.On.Connect(func() { say("connect") })
	_ = c.Scan(bufio.ScanLines, 1<<20, func(line []byte) { say("line:", string(line)) })
	c.On.Finish(func() { say("finish, readyState", c.ReadyState()) })
	c.On.End(func() {
		say("end")
		if !c.WritableEnded() {
			c.Destroy(errIncomplete)
		}
	})
	c.On.Error(func(err error) { say("error:", err) })
	stopWatching := context.AfterFunc(ctx, func() { c.Destroy(nil) })
	c.On.Close(func(bool) {
		stopWatching()
		say("close")
	})
	return c
}
