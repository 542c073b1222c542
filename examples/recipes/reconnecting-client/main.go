// Reconnecting-client keeps a connection to a line server. It connects again after each close, with pauses that
// double up to a limit, and queues the lines that are sent in the meantime:
//
//	go run ./examples/recipes/reconnecting-client
//	nc -l 127.0.0.1 9106
//
// It sends the lines of its standard input and prints the lines of the server. Stop nc and start it again to see the
// client return. An interrupt (Ctrl-C) ends the client; the end of its input does not.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const (
	maxLine = 4096        // bytes, in both directions
	steady  = time.Second // a connection that lasts so long is a success
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9106", "`address` of the server")
	shortest := flag.Duration("min-pause", 500*time.Millisecond, "first pause between two attempts")
	longest := flag.Duration("max-pause", 30*time.Second, "longest pause between two attempts")
	limit := flag.Int("queue", 100, "maximum `number` of lines that wait for a connection")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}
	if *shortest <= 0 || *longest < *shortest || *limit < 1 {
		log.Println("the pauses and the queue must be positive, and -max-pause not less than -min-pause")
		os.Exit(2)
	}

	c := newClient(*address, *shortest, *longest, *limit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { evnet.DefaultLoop.Post(c.stop) })
	evnet.DefaultLoop.Post(func() { go sendInput(c) }) // once the loop runs
	c.connect()
	evnet.Run() // until stop: a socket or the timer of the next attempt keeps it running
	log.Println("closed")
}

// sendInput sends the lines of the standard input. It runs on a goroutine of its own, because reading blocks.
func sendInput(c *client) {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, maxLine)
	for input.Scan() {
		line, err := input.Text(), error(nil)
		evnet.DefaultLoop.Do(func() { err = c.send(line) }) // the client belongs to the loop
		if err != nil {
			log.Printf("not sent: %q: %v", line, err)
		}
	}
	if err := input.Err(); err != nil {
		log.Println("standard input:", err)
	}
}

var (
	errQueueFull = errors.New("the queue is full")
	errStopped   = errors.New("the client is stopped")
)

// client belongs to the loop: all its methods run there.
type client struct {
	socket  *evnet.Socket
	address string
	queue   []string // the lines to send, oldest first
	limit   int      // of queue

	shortest, longest time.Duration
	pause             time.Duration // before the next attempt
	connected         time.Time     // zero while there is no connection
	retry             *evnet.Timer  // the next attempt, or nil
	stopped           bool
}

func newClient(address string, shortest, longest time.Duration, limit int) *client {
	c := &client{address: address, shortest: shortest, longest: longest, pause: shortest, limit: limit}
	c.socket = evnet.NewSocket(&evnet.SocketOptions{
		Dialer:       &net.Dialer{Timeout: 10 * time.Second}, // for each attempt
		WriteTimeout: 30 * time.Second,                       // a server that does not read
		CloseTimeout: 5 * time.Second,                        // and for the end after stop
	})
	// The same socket connects again and again. Its callbacks and its Scan stay.
	c.socket.On.Connect(func() {
		log.Println("connected to", c.socket.RemoteAddr())
		c.connected = time.Now()
		c.flush()
	})
	c.socket.On.Drain(c.flush)
	c.socket.On.Error(func(err error) { log.Println(err) })
	c.socket.On.Close(func(bool) { c.closed() })
	_ = c.socket.Scan(nil, maxLine, func(line []byte) { printable.Println(string(line)) })
	return c
}

func (c *client) connect() {
	c.retry = nil
	c.socket.Connect("tcp", c.address)
}

// closed follows each connection and each failed attempt.
func (c *client) closed() {
	if c.stopped {
		return
	}
	// A connection that does not last counts as a failed attempt. Otherwise a server that accepts and closes would
	// keep the pauses short.
	if !c.connected.IsZero() && time.Since(c.connected) >= min(c.pause, steady) {
		c.pause = c.shortest
	}
	c.connected = time.Time{}
	wait := c.pause/2 + rand.N(c.pause/2+1) // jitter: many clients do not return at the same moment
	log.Println("disconnected, next attempt in", wait.Round(time.Millisecond))
	c.retry = evnet.DefaultLoop.AfterFunc(wait, c.connect)
	c.pause = min(2*c.pause, c.longest)
}

// send queues a line and sends it as soon as possible. If the queue is full, it refuses the new line and keeps the
// older ones.
func (c *client) send(line string) error {
	switch {
	case c.stopped:
		return errStopped
	case len(c.queue) >= c.limit:
		return errQueueFull
	}
	c.queue = append(c.queue, line)
	c.flush()
	return nil
}

// flush writes queued lines, while there is a connection and the server reads.
func (c *client) flush() {
	for !c.connected.IsZero() && !c.socket.NeedDrain() && len(c.queue) > 0 {
		if _, err := c.socket.WriteString(c.queue[0] + "\n"); err != nil {
			return // the connection is ending, so Close follows, and the line waits for the next connection
		}
		c.queue = c.queue[1:]
	}
}

// stop ends the client. What was written is still sent; queued lines are not.
func (c *client) stop() {
	c.stopped = true
	if c.retry != nil {
		c.retry.Stop()
	}
	if len(c.queue) > 0 {
		log.Println("lines that were not sent:", len(c.queue))
	}
	if c.connected.IsZero() {
		c.socket.Destroy(nil) // ends an attempt
		return
	}
	c.socket.Close()
}
