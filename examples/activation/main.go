// Activation is an echo server that takes its listeners from whoever starts it, as systemd and others pass
// them on, and where none is passed on listens itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: activation [flags]

An echo server that takes its listeners from whoever starts it: LISTEN_FDS says how many there are, from descriptor 3
on, LISTEN_PID for which process, and LISTEN_FDNAMES, with colons between, what each is called. Where none is passed
on it listens itself. An interrupt (Ctrl-C) ends it.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp or unix, where no listener is passed on")
	address := flag.String("addr", "127.0.0.1:8082", "where to listen then: port 0 takes a free one; a path for unix")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("activation takes no argument", flag.Arg(0))
		log.Println("activation -h tells the flags")
		os.Exit(2)
	}

	listeners, err := passedOn()
	if err != nil {
		log.Fatalln(err)
	}
	for _, l := range listeners {
		if err := echo(" (" + l.name + ")").Serve(l.Listener); err != nil {
			log.Fatalln(err)
		}
	}
	if len(listeners) == 0 {
		if err := echo("").Listen(*network, *address, nil); err != nil {
			log.Fatalln(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

func echo(name string) *evnet.Server {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(err) })
		c.Pipe(c)
	})
	server.On.Listening(func() {
		printable.Printf("listening on %s %s%s\n", server.Address().Network(), server.Address(), name)
	})
	return server
}
