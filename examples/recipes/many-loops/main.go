// Many-loops is a chat server over several loops, one goroutine each. Every line goes to all clients with a number
// before it, in the same order everywhere. The line "stats" is answered with the figures of every loop:
//
//	go run ./examples/recipes/many-loops -loops 2
//	nc 127.0.0.1 9111
//	nc 127.0.0.1 9111
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9111", "`address` to listen on; port 0 takes a free one")
	count := flag.Int("loops", runtime.GOMAXPROCS(0), "`number` of loops")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}
	if *count < 1 {
		log.Println("-loops must be at least 1")
		os.Exit(2)
	}

	h := newHub(*count)
	var loops []*evnet.Loop
	for _, p := range h.parts {
		loops = append(loops, p.loop)
	}
	server := evnet.NewServer(&evnet.ServerOptions{
		Loops:          loops, // connections are distributed round-robin
		MaxConnections: 1000,
		IdleTimeout:    10 * time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   10 * time.Second,
	})
	server.On.Connection(h.accept)
	if err := server.Listen("tcp", *address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	var all sync.WaitGroup
	for _, loop := range loops {
		all.Go(loop.Run) // until the server and its connections are closed
	}
	all.Wait()
	fmt.Println("closed")
}

// hub is the chat. Its own field number belongs to one loop, the owner; each part belongs to the loop of that part.
// The other fields never change, so that any goroutine may read them.
type hub struct {
	owner  *evnet.Loop
	number int // of the last line
	parts  []*part
	partOf map[*evnet.Loop]*part
}

// part is the state that one loop has for its own clients.
type part struct {
	loop    *evnet.Loop
	clients map[*evnet.Socket]bool
	lines   int // received from these clients
}

func newHub(count int) *hub {
	h := &hub{partOf: map[*evnet.Loop]*part{}}
	for range count {
		p := &part{loop: evnet.NewLoop(), clients: map[*evnet.Socket]bool{}}
		h.parts = append(h.parts, p)
		h.partOf[p.loop] = p
	}
	h.owner = h.parts[0].loop
	return h
}

// accept runs on the loop of the new socket, as all callbacks of that socket do.
func (h *hub) accept(c *evnet.Socket) {
	p := h.partOf[c.Loop()]
	p.clients[c] = true
	c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
	c.On.Close(func(bool) { delete(p.clients, c) })
	_ = c.Scan(nil, 1024, func(line []byte) {
		p.lines++
		c.Pause() // one line at a time: a client cannot post faster than the loops work
		if string(line) == "stats" {
			h.stats(func(report string) {
				_, _ = c.WriteString(report) // allowed on any goroutine
				c.Resume()
			})
			return
		}
		h.broadcast(string(line), c.Resume)
	})
}

// broadcast sends a line to the clients of all loops. Any goroutine may call it. It calls done when every loop has
// sent the line.
func (h *hub) broadcast(text string, done func()) {
	h.owner.Post(func() {
		h.number++
		line := fmt.Appendf(nil, "%d %s\n", h.number, text)
		var left atomic.Int32
		left.Store(int32(len(h.parts)))
		for _, p := range h.parts {
			p.loop.Post(func() { // functions run in the order of posting, so the lines stay in order
				p.send(line)
				if left.Add(-1) == 0 {
					done()
				}
			})
		}
	})
}

// send writes a line to the clients of one loop, on that loop.
func (p *part) send(line []byte) {
	for c := range p.clients {
		if _, err := c.Write(line); err != nil && !c.WritableEnded() {
			c.Destroy(err) // the client does not read
		}
	}
}

// stats collects the figures of all loops on the owner, and calls report there.
func (h *hub) stats(report func(string)) {
	h.owner.Post(func() {
		perLoop := make([]string, len(h.parts))
		left, clients, lines := len(h.parts), 0, 0
		for i, p := range h.parts {
			p.loop.Post(func() {
				n, l := len(p.clients), p.lines // read on the loop that they belong to
				h.owner.Post(func() {
					perLoop[i] = fmt.Sprintf("loop %d: %d clients, %d lines\n", i, n, l)
					clients, lines = clients+n, lines+l
					if left--; left == 0 {
						sum := fmt.Sprintf("all: %d clients, %d lines, %d sent to all\n", clients, lines, h.number)
						report(strings.Join(perLoop, "") + sum)
					}
				})
			})
		}
	})
}
