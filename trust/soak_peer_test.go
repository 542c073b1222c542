package trust

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"

	"evnet"
)

const soakVariable = "EVNET_TRUST_SOAK"

func init() { roles["soak clients"] = soakClients }

// noise is the random data of messages.
var noise = sync.OnceValue(func() []byte {
	p := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return p
})

// client is the client's end of one connection of the soak.
type client struct {
	erratic
	stream
	h        hello
	sizes    []uint16 // of the messages that are still to be sent
	tail     []uint16 // of the messages to send after the server has ended
	depth    int      // how many messages may be in flight
	early    bool     // it ends after its last message, before the last echo arrives
	echoed   string   // hash of the data that must be echoed
	expected []int    // sizes of the messages in flight
	done     int      // completed exchanges
}

func newClient(id int, exchanges int, seed uint64) *client {
	c := &client{stream: newStream()}
	c.rng = rand.New(rand.NewPCG(seed, uint64(id)<<32))
	c.h = hello{id: uint32(id), manner: uint8(c.rng.IntN(int(manyManners))), echo: helloSize}
	size := func() uint16 {
		switch n := c.rng.IntN(100); {
		case n < 60:
			return uint16(c.rng.IntN(200))
		case n < 99:
			return uint16(c.rng.IntN(3000))
		}
		return uint16(c.rng.IntN(maxMessage))
	}
	for range exchanges {
		n := size()
		c.sizes = append(c.sizes, n)
		c.h.echo += 4 + uint64(n)
	}
	c.depth = 1 + c.rng.IntN(4)
	switch c.rng.IntN(3) {
	case 0:
		c.early = true
		c.h.late = c.rng.IntN(2) == 0
	case 1:
		c.h.late = true
	default: // the server ends first
		for range c.rng.IntN(4) {
			c.tail = append(c.tail, size())
		}
	}
	if c.h.manner == byPipe { // the server's pipe ends when the client has ended
		c.h.late, c.tail = true, nil
	}
	return c
}

// message returns the next message, and records it as sent.
func (c *client) message(sizes *[]uint16) []byte {
	n := int((*sizes)[0])
	*sizes = (*sizes)[1:]
	at := c.rng.IntN(len(noise()) - maxMessage)
	p := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+n), uint32(n)), noise()[at:at+n]...)
	c.noteSent(p)
	if len(c.sizes) == 0 && c.echoed == "" {
		c.echoed = string(c.sent.Sum(nil))
	}
	return p
}

// checkEcho returns an error if the echo is incomplete or wrong. It is called when the connection has closed.
func (c *client) checkEcho() error {
	if c.gotLen != c.h.echo || string(c.got.Sum(nil)) != c.echoed {
		return fmt.Errorf("client %d: the echo differs from what was sent: %d bytes of %d", c.h.id, c.gotLen, c.h.echo)
	}
	return nil
}

// clients are all clients of the process.
type clients struct {
	l       *evnet.Loop
	address string

	mu    sync.Mutex
	wait  int           // connections whose hello was not echoed yet
	open  chan struct{} // closed when every hello was echoed
	out   *bufio.Writer
	done  int
	fails int
}

func soakClients() {
	var conns, exchanges int
	var seed uint64
	cs := &clients{l: evnet.NewLoop(), open: make(chan struct{}), out: bufio.NewWriter(os.Stdout)}
	if _, err := fmt.Sscan(os.Getenv(soakVariable), &cs.address, &conns, &exchanges, &seed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	cs.wait = conns
	started := make(chan struct{}, 200) // limits the connections that are being made at the same time
	aside(cs.l, func() {
		for id := range conns {
			started <- struct{}{}
			n := exchanges / conns
			if id < exchanges%conns {
				n++
			}
			c := newClient(id, n, seed)
			if id%20 == 0 {
				aside(cs.l, func() { cs.plain(c, func() { <-started }) })
			} else {
				cs.l.Post(func() { cs.start(c, func() { <-started }) })
			}
		}
	})
	cs.l.Run()
	fmt.Fprintf(cs.out, "summary %d exchanges, peak RSS of the clients %d MB\n", cs.done, peakRSS())
	_ = cs.out.Flush()
	if cs.fails > 0 {
		os.Exit(1)
	}
}

// ready is called when a hello was echoed.
func (cs *clients) ready() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.wait--; cs.wait == 0 {
		close(cs.open)
	}
}

// over reports the result of a connection.
func (cs *clients) over(c *client, err error) {
	if err == nil {
		err = c.checkEcho()
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if err != nil {
		cs.fails++
		fmt.Fprintf(os.Stderr, "client %d: %v\n", c.h.id, err)
	}
	cs.done += c.done
	fmt.Fprintln(cs.out, c.h.id, c.digest(true))
}

// start starts a client that uses evnet. It runs on the loop.
func (cs *clients) start(c *client, connected func()) {
	c.s = evnet.NewSocket(&evnet.SocketOptions{Loop: cs.l, AllowHalfOpen: true, Logger: quiet})
	var cause error
	fail := func(err error) {
		if err != nil && cause == nil {
			cause = err
			c.s.Destroy(nil)
		}
	}
	more := func() {
		for len(c.expected) < c.depth && len(c.sizes) > 0 {
			p := c.message(&c.sizes)
			c.expected = append(c.expected, len(p))
			fail(c.write(p))
			if len(c.sizes) == 0 && c.early {
				c.s.End()
			}
		}
		if len(c.sizes) == 0 && len(c.expected) == 0 && c.h.late {
			c.s.End()
		}
	}
	began := false
	receive := func(p []byte) {
		c.noteGot(p)
		c.mayPause()
		for n := len(p); n > 0 && len(c.expected) > 0; {
			part := min(n, c.expected[0])
			n -= part
			if c.expected[0] -= part; c.expected[0] > 0 {
				break
			}
			c.expected = c.expected[1:]
			if !began { // the hello was echoed
				began = true
				cs.ready()
				cs.l.Ref()
				go func() { <-cs.open; cs.l.Post(more); cs.l.Unref() }()
				return
			}
			c.done++
		}
		if began {
			more()
		}
	}
	c.s.On.Connect(func() {
		connected()
		p := c.h.message()
		c.noteSent(p)
		c.expected = append(c.expected, len(p))
		fail(c.write(p))
		fail(c.consume(uint8(c.rng.IntN(int(byPipe))), receive))
	})
	c.s.On.End(func() {
		for len(c.tail) > 0 {
			fail(c.write(c.message(&c.tail)))
		}
		c.s.End()
	})
	c.s.On.Error(fail)
	c.s.On.Close(func(bool) { cs.over(c, cause) })
	c.s.Connect("tcp", cs.address)
}

// plain runs a client that uses package net.
func (cs *clients) plain(c *client, connected func()) {
	conn, err := net.Dial("tcp", cs.address)
	connected()
	if err == nil {
		err = cs.exchange(c, conn)
		_ = conn.Close()
	}
	cs.over(c, err)
}

func (cs *clients) exchange(c *client, conn net.Conn) error {
	buf := make([]byte, 4+maxMessage)
	read := func(n int) error {
		_, err := io.ReadFull(conn, buf[:n])
		c.noteGot(buf[:n])
		return err
	}
	p := c.h.message()
	c.noteSent(p)
	_, err := conn.Write(p)
	if err = errors.Join(err, read(len(p))); err != nil {
		return err
	}
	cs.ready()
	<-cs.open
	for len(c.sizes) > 0 {
		p := c.message(&c.sizes)
		if _, err := conn.Write(p); err != nil {
			return err
		}
		if len(c.sizes) == 0 && c.early {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		if err := read(len(p)); err != nil {
			return err
		}
		c.done++
	}
	if c.h.late {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	rest, err := io.ReadAll(conn)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("%d bytes too many: %w", len(rest), err)
	}
	for len(c.tail) > 0 {
		if _, err := conn.Write(c.message(&c.tail)); err != nil {
			return err
		}
	}
	return nil
}
