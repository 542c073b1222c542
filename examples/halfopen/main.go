// Halfopen shows what AllowHalfOpen is for. Its server sorts lines: it can answer only once its client has ended,
// and takes a while to. With AllowHalfOpen the client gets the whole answer; without, the first line of it.
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

A server that sorts the lines of its client, which it can do only after the client's end. Without -listen and
-connect, server and client are both in here, first with AllowHalfOpen and then without.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "be the server, at this `address`; port 0 takes a free one")
	connect := flag.String("connect", "", "be a client of this `address`: send the standard input, end, and print the answer")
	off := flag.Bool("off", false, "server: without AllowHalfOpen")
	pause := flag.Duration("pause", 200*time.Millisecond, "server: before each line of the answer")
	longest := flag.Int("max", 1<<20, "server: the longest request, in bytes")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		misused("halfopen takes no argument", flag.Arg(0))
	case *listen != "" && *connect != "":
		misused("give -listen or -connect, not both")
	case *pause < 0:
		misused("-pause is negative:", *pause)
	case *longest < 1:
		misused("-max is less than one byte:", *longest)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	answers := sorter{pause: *pause, longest: *longest}
	switch {
	case *listen != "":
		serve(ctx, answers, *listen, !*off)
	case *connect != "":
		call(ctx, *connect)
	default:
		both(ctx, answers)
	}
}

func misused(problem ...any) {
	log.Println(problem...)
	log.Println("halfopen -h tells the flags")
	os.Exit(2)
}

func serve(ctx context.Context, answers sorter, address string, halfOpen bool) {
	server := answers.server(halfOpen)
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

// call sends what the standard input has, at the pace of the server.
func call(ctx context.Context, address string) {
	c := client(ctx, address)
	go func() { // waiting for the standard input must not stop the loop
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

// both is a server and a client in one process: the same twice, but for AllowHalfOpen.
func both(ctx context.Context, answers sorter) {
	for _, halfOpen := range []bool{true, false} {
		printable.Println("AllowHalfOpen:", halfOpen)
		server := answers.server(halfOpen)
		if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
			log.Fatalln(err)
		}
		c := client(ctx, server.Address().String())
		c.On.Close(func(bool) {
			_ = server.Close(nil)
			server.CloseAllConnections() // none is left but after an interrupt
		})
		_, _ = c.WriteString("pear\napple\nfig\n") // leaves once connected
		c.End()                                    // and so does the end
		evnet.Run()                                // until both are closed
		if c.Err() != nil {
			os.Exit(1)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

var errCutOff = errors.New("the server has ended before the request was whole")

// client prints its events and the lines that it gets. The end of ctx ends it.
func client(ctx context.Context, address string) *evnet.Socket {
	c := evnet.Connect("tcp", address, nil)
	say := func(what ...any) { printable.Println(append([]any{"client:"}, what...)...) }
	c.On.Connect(func() { say("connect") })
	_ = c.Scan(bufio.ScanLines, 1<<20, func(line []byte) { say("line", string(line)) })
	c.On.Finish(func() { say("finish, now", c.ReadyState()) })
	c.On.End(func() {
		say("end")
		if !c.WritableEnded() {
			c.Destroy(errCutOff)
		}
	})
	c.On.Error(func(err error) { say("error:", err) })
	unwatch := context.AfterFunc(ctx, func() { c.Destroy(nil) })
	c.On.Close(func(bool) {
		unwatch()
		say("close")
	})
	return c
}
