// Http-beside serves HTTP beside another protocol on one port. The first line of a connection shows which one the client
// speaks. Package net/http serves the HTTP connections on its own goroutines; the others have a line protocol, which
// runs on the loop.
//
//	go run ./examples/recipes/http-beside
//	echo hello | nc -N 127.0.0.1 9103
//	curl http://127.0.0.1:9103
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// maxLine is the length of the longest line, the URL of an HTTP request included.
const maxLine = 8 << 10

var requestLine = regexp.MustCompile(`^[A-Z]+ \S+ HTTP/1\.[01]\r?\n$`)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9103", "`address` to listen on; port 0 takes a free one")
	wait := flag.Duration("wait", 10*time.Second, "how long to wait for the first line, and for an HTTP header")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	case *wait <= 0:
		log.Println("-wait is not positive:", *wait)
		os.Exit(2)
	}

	lines := 0 // belongs to the loop
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: 1000,
		IdleTimeout:    time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   10 * time.Second,
	})
	if err := server.Listen("tcp", *address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	handOver := newListener(server.Address())
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		detect(c, *wait, handOver, func(line []byte) {
			lines++
			if _, err := fmt.Fprintf(c, "%d bytes\n", len(line)); err != nil {
				c.Destroy(err) // the client does not read its answers
			}
		})
	})
	web := &http.Server{
		ReadHeaderTimeout: *wait,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count := 0
			evnet.DefaultLoop.Do(func() { count = lines }) // on the loop, because this is another goroutine
			_, _ = fmt.Fprintf(w, "%d lines so far\n", count)
		}),
	}
	go func() { _ = web.Serve(handOver) }() // until Close

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	_ = web.Close()
	fmt.Println("closed")
}

// detect reads the first line and puts it back. Then it hands an HTTP connection over, or calls onLine for each line. It
// destroys a connection whose first line takes too long.
func detect(c *evnet.Socket, wait time.Duration, handOver *listener, onLine func([]byte)) {
	late := c.Loop().AfterFunc(wait, func() { c.Destroy(os.ErrDeadlineExceeded) })
	c.On.Close(func(bool) { late.Stop() })
	err := c.Scan(wholeLine, maxLine, func(first []byte) {
		late.Stop()
		isHTTP := requestLine.Match(first)
		_ = c.Unshift(first)
		_ = c.Scan(nil, 0, nil) // the next consumer takes over
		if !isHTTP {
			_ = c.Scan(nil, maxLine, onLine)
			return
		}
		if conn, err := c.BlockingConn(); err != nil {
			c.Destroy(err)
		} else if !handOver.offer(conn) {
			_ = conn.Close()
		}
	})
	if err != nil {
		c.Destroy(err)
	}
}

// wholeLine is a split function like bufio.ScanLines, whose token has the line end too, so that it can be put back.
func wholeLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		return end + 1, data[:end+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
