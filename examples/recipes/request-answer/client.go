package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"
	"strings"
	"time"

	"evnet"
)

const maxLine = 4096

var (
	errTimeout = errors.New("no answer before the timeout")
	errTooMany = errors.New("too many pending requests")
	errClosed  = errors.New("the connection was closed before the answer")
)

// client matches answers to requests. Its fields belong to the loop.
type client struct {
	loop    *evnet.Loop
	socket  *evnet.Socket
	limit   int
	lastID  uint64
	pending map[uint64]*request
	ignored int // answers to no pending request
}

// request is one call. The loop sets answer and err, and then closes done.
type request struct {
	id     uint64
	text   string
	timer  *evnet.Timer
	answer string
	err    error
	done   chan struct{}
}

func newClient(address string, limit int) *client {
	c := &client{loop: evnet.DefaultLoop, limit: limit, pending: map[uint64]*request{}}
	c.socket = evnet.NewSocket(&evnet.SocketOptions{Loop: c.loop, CloseTimeout: 5 * time.Second})
	_ = c.socket.Scan(nil, maxLine, c.receive)
	c.socket.On.Error(func(err error) { log.Println(err) })
	c.socket.On.Close(func(bool) {
		for _, r := range c.pending {
			c.finish(r, "", errClosed)
		}
		if c.ignored > 0 {
			log.Println("ignored answers, late or unknown:", c.ignored)
		}
	})
	c.socket.Connect("tcp", address)
	return c
}

// Call sends a request and waits for the answer, the timeout or the end of ctx. Any number of goroutines may call it
// at the same time, while the loop runs. A callback must not: it would block the loop that Call waits for.
func (c *client) Call(ctx context.Context, text string, timeout time.Duration) (string, error) {
	if strings.ContainsAny(text, "\r\n") {
		return "", errors.New("a request is one line")
	}
	r := &request{text: text, done: make(chan struct{})}
	c.loop.Post(func() { c.send(r, timeout) })
	select {
	case <-r.done:
		return r.answer, r.err
	case <-ctx.Done():
		c.loop.Post(func() { c.finish(r, "", ctx.Err()) }) // runs after send, in the order of posting
		return "", ctx.Err()
	}
}

func (c *client) send(r *request, timeout time.Duration) {
	c.lastID++
	r.id = c.lastID
	if len(c.pending) >= c.limit {
		r.err = errTooMany
		close(r.done)
		return
	}
	c.pending[r.id] = r
	r.timer = c.loop.AfterFunc(timeout, func() { c.finish(r, "", errTimeout) })
	if _, err := fmt.Fprintf(c.socket, "%d %s\n", r.id, r.text); err != nil {
		c.finish(r, "", err)
	}
}

// receive handles one answer.
func (c *client) receive(line []byte) {
	number, answer, _ := strings.Cut(string(line), " ")
	id, err := strconv.ParseUint(number, 10, 64)
	if r := c.pending[id]; err == nil && r != nil {
		c.finish(r, answer, nil)
		return
	}
	c.ignored++
}

// finish ends a request. The first of its answer, its timeout, its context and the close of the connection counts.
func (c *client) finish(r *request, answer string, err error) {
	if c.pending[r.id] != r {
		return
	}
	delete(c.pending, r.id)
	r.timer.Stop()
	r.answer, r.err = answer, err
	close(r.done)
}
