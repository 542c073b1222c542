// Lines is a server that answers each line with its length, and that no peer can make hold more than one
// line of the longest kind: one that is longer is told so and cut off.
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

const usage = `Usage: lines [flags]

A server that answers each line with its length in bytes, and lets no client cost it much. An interrupt (Ctrl-C)
ends it.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp or unix")
	address := flag.String("addr", "127.0.0.1:8081", "where to listen: port 0 takes a free one; a path for unix")
	longest := flag.Int("max", 4096, "the longest line, in bytes")
	clients := flag.Int("clients", 1000, "how many may be connected at once")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		misused("lines takes no argument", flag.Arg(0))
	case *longest < 1:
		misused("-max is less than one byte:", *longest)
	case *clients < 1:
		misused("-clients is less than one:", *clients)
	}

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   *clients,
		FirstByteTimeout: 10 * time.Second, // who connects and says nothing
		IdleTimeout:      time.Minute,      // who falls silent
		WriteTimeout:     30 * time.Second, // who takes no answer
		CloseTimeout:     10 * time.Second, // who never ends
		MaxWriteBuffer:   1 << 20,          // and how much waits until then
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		c.Scan(lines(c, *longest), *longest+2, func(line []byte) {
			if _, err := fmt.Fprintf(c, "%d\n", len(line)); err != nil {
				c.Destroy(err) // it asks and asks, and reads no answer
			}
		})
	})
	err := server.Listen(*network, *address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		log.Fatalln(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

func misused(problem ...any) {
	log.Println(problem...)
	log.Println("lines -h tells the flags")
	os.Exit(2)
}

// lines is bufio.ScanLines for one client, who is told when a line is longer than that.
func lines(c *evnet.Socket, longest int) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		advance, line, err := bufio.ScanLines(data, atEOF)
		if len(line) > longest || advance == 0 && len(data) > longest+1 {
			_, _ = fmt.Fprintf(c, "a line may have %d bytes\n", longest)
			return 0, nil, bufio.ErrTooLong // which destroys the socket
		}
		return advance, line, err
	}
}
