// Activation is an echo server for socket activation: it uses the listeners that its parent process, such as systemd, passes to
// it. Without them it opens its own listener.
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

An echo server for socket activation: it uses the listeners that its parent process passes to it. LISTEN_FDS is their
number, from descriptor 3 on. LISTEN_PID is the process that they are for. LISTEN_FDNAMES has their names, separated by
colons. Without these variables the program opens its own listener. Ctrl-C stops it.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("activation: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp, tcp4, tcp6 or unix, if no listener is passed")
	address := flag.String("addr", "127.0.0.1:8082", "`address` to listen on, if no listener is passed: port 0 takes a free one; a path for unix")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Printf("unexpected argument %q (use -h for help)", flag.Arg(0))
		os.Exit(2)
	}

	listeners, err := passedListeners()
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
