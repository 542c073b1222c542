// Rate-limits bounds what one client may take from a server: how many connections, and how many messages and bytes per
// second on each of them. A client that sends faster is slowed down by its own kernel. It loses nothing.
//
//	go run ./examples/recipes/rate-limits -messages 2
//	seq 6 | nc -N 127.0.0.1 9105
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
	"time"

	"evnet"
	"evnet/examples/printable"
)

// maxLine is the length of the longest message.
const maxLine = 4096

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9105", "`address` to listen on; port 0 takes a free one")
	perAddress := flag.Int("per-address", 10, "maximum number of open connections from one address")
	rate := flag.Int("rate", 50, "maximum number of new connections per second, from all addresses together")
	messages := flag.Int("messages", 20, "maximum number of messages per second on each connection")
	bytes := flag.Int("bytes", 16<<10, "maximum number of bytes per second on each connection")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	case min(*perAddress, *rate, *messages, *bytes) < 1:
		log.Println("a limit is less than 1")
		os.Exit(2)
	}

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:           1000,
		MaxConnectionsPerAddress: *perAddress,
		MaxConnectionRate:        *rate,
		FirstByteTimeout:         10 * time.Second,
		IdleTimeout:              time.Minute,
		WriteTimeout:             30 * time.Second,
		CloseTimeout:             10 * time.Second,
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		perMessage, perByte := newBucket(*messages), newBucket(*bytes)
		slowed := false
		err := c.Scan(nil, maxLine, func(line []byte) {
			if _, err := fmt.Fprintf(c, "%d bytes\n", len(line)); err != nil {
				c.Destroy(err) // the client does not read its answers
				return
			}
			wait := max(perMessage.take(1), perByte.take(len(line)+1))
			if wait <= 0 {
				return
			}
			if !slowed {
				slowed = true
				log.Println(c.RemoteAddr(), "is slowed down")
			}
			c.Pause() // also keeps the messages that are buffered already
			c.Loop().AfterFunc(wait, c.Resume)
		})
		if err != nil {
			c.Destroy(err)
		}
	})

	dropped := map[evnet.DropReason]int{} // one record per second, because a flood would fill the log
	report := func() {
		if len(dropped) > 0 {
			log.Println("dropped connections:", dropped)
		}
		clear(dropped)
	}
	server.On.Drop(func(d evnet.Drop) {
		if len(dropped) == 0 {
			evnet.DefaultLoop.AfterFunc(time.Second, report)
		}
		dropped[d.Reason]++
	})
	if err := server.Listen("tcp", *address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	report()
	fmt.Println("closed")
}

// bucket is a token bucket. It holds the tokens of one second at most, which a client may use in one burst.
type bucket struct {
	rate, tokens float64
	updated      time.Time
}

func newBucket(rate int) *bucket {
	return &bucket{rate: float64(rate), tokens: float64(rate), updated: time.Now()}
}

// take removes n tokens. If the bucket has fewer, take returns the time until it has paid them back.
func (b *bucket) take(n int) time.Duration {
	now := time.Now()
	b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.updated).Seconds()) - float64(n)
	b.updated = now
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}
