// Lines is a line server for untrusted clients. It answers each line with its length and buffers at most one line of
// each client. A client that sends a longer line gets an error message and is disconnected.
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

A line server for untrusted clients: it answers each line with its length in bytes and limits the resources of each
client. An interrupt (Ctrl-C) ends it.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("lines: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp, tcp4, tcp6 or unix")
	address := flag.String("addr", "127.0.0.1:8081", "`address` to listen on: port 0 takes a free one; a path for unix")
	maxLine := flag.Int("max", 4096, "maximum length of a line in bytes")
	maxClients := flag.Int("clients", 1000, "maximum number of open connections; further ones are closed immediately")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		usageError("unexpected argument %q", flag.Arg(0))
	case *maxLine < 1:
		usageError("-max must be at least 1: %d", *maxLine)
	case *maxClients < 1:
		usageError("-clients must be at least 1: %d", *maxClients)
	}

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   *maxClients,
		FirstByteTimeout: 10 * time.Second, // a client that connects and sends nothing
		IdleTimeout:      time.Minute,      // a client that becomes idle
		WriteTimeout:     30 * time.Second, // a client that does not read
		CloseTimeout:     10 * time.Second, // a client that never ends its side
		MaxWriteBuffer:   1 << 20,          // limits the answers queued until then
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Printf("%v: %v", c.RemoteAddr(), err) })
		c.Scan(splitLines(c, *maxLine), *maxLine+2, func(line []byte) {
			if _, err := fmt.Fprintf(c, "%d\n", len(line)); err != nil {
				c.Destroy(err) // the client sends many lines but does not read the answers
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

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}

// splitLines returns bufio.ScanLines with a limit: it sends c an error message for a line of more than maxLine bytes.
func splitLines(c *evnet.Socket, maxLine int) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		advance, line, err := bufio.ScanLines(data, atEOF)
		if len(line) > maxLine || advance == 0 && len(data) > maxLine+1 {
			_, _ = fmt.Fprintf(c, "line too long: the limit is %d bytes\n", maxLine)
			return 0, nil, bufio.ErrTooLong // destroys the socket
		}
		return advance, line, err
	}
}
