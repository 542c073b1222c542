//go:build unix

// Hot-restart replaces its own process without refusing a connection. On SIGHUP it starts its program again and passes
// the listener on. When the new process accepts connections, the old one stops accepting, and exits after its last
// connection.
//
//	go build -o hot-restart ./examples/recipes/hot-restart
//	./hot-restart
//	echo hello | nc -N 127.0.0.1 9104
//	kill -HUP PROCESS
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

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9104", "`address` to listen on; port 0 takes a free one")
	grace := flag.Duration("grace", 10*time.Second, "how long open connections may continue after a restart")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}

	replaced := false // by a new process; belongs to the loop
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: 1000,
		IdleTimeout:    time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   10 * time.Second,
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		_ = c.Scan(nil, 4096, func(line []byte) {
			if !c.Writable() {
				return // after End: the client sends this again on its next connection
			}
			if _, err := fmt.Fprintf(c, "process %d: %s\n", os.Getpid(), line); err != nil {
				c.Destroy(err) // the client does not read its answers
			}
			if replaced {
				c.End() // the next connection reaches the new process
			}
		})
	})
	server.On.Error(func(err error) {
		if !errors.Is(err, net.ErrClosed) { // this one is the end of accepting
			log.Println(err)
		}
	})
	server.On.Listening(func() {
		printable.Println("listening on", server.Address(), "in process", os.Getpid())
		reportReady()
	})
	server.On.Close(func() { fmt.Println("process", os.Getpid(), "closed") })
	if err := inheritOrListen(server, *address); err != nil {
		log.Fatalln(err)
	}

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			if s != syscall.SIGHUP {
				_ = server.Close(nil)
				server.CloseAllConnections()
				continue
			}
			listener := server.Listener()
			if err := startNext(listener); err != nil {
				log.Println("no restart:", err) // this process continues
				continue
			}
			evnet.DefaultLoop.Post(func() { replaced = true })
			_ = listener.Close() // unlike Server.Close, this serves every connection that is already accepted
			evnet.DefaultLoop.AfterFunc(*grace, func() { _ = server.Shutdown(context.Background()) }).Unref()
		}
	}()
	evnet.Run() // until the server and all connections have closed
}
