package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"time"

	"evnet"
	"evnet/examples/printable"
)

func (o *options) serve(ctx context.Context) {
	options := &evnet.ServerOptions{
		FirstByteTimeout: o.firstByte, // who connects and says nothing
		IdleTimeout:      o.idle,      // who falls silent
		CloseTimeout:     o.end,       // who never ends
	}
	if o.handshake > 0 {
		options.HandshakeTimeout = o.handshake // who never shakes hands
		options.TLSConfig = &tls.Config{GetCertificate: none}
	}
	server := evnet.NewServer(options)
	server.On.Connection(o.converse)
	server.On.TLSClientError(func(err error, c *evnet.Socket) { // there was no Connection yet
		line := timeline{"server:", time.Now().Add(-o.handshake)}
		if cause(err) == "" {
			line.began = time.Now()
		}
		line.over(c)
	})
	if err := server.Listen("tcp", o.listen, func() { printable.Println("server: listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("server: closed")
}

// converse asks a client that has fallen silent whether it is there, and says goodbye if it does not answer.
func (o *options) converse(c *evnet.Socket) {
	line := timeline{"server:", time.Now()}
	line.say("connection")
	_ = c.SetTimeout(o.ask) // which tells, and does nothing else
	asked, left := false, false
	c.On.Timeout(func() {
		switch {
		case !asked:
			asked = true
			line.say("timeout, and it asks")
			_, _ = c.WriteString("are you still there?\n") // from here on the time runs again
		case !left:
			left = true
			line.say("timeout, and it says goodbye")
			_, _ = c.WriteString("goodbye\n")
			c.End() // from here on CloseTimeout runs
		}
	})
	_ = c.Scan(bufio.ScanLines, 1000, func(text []byte) {
		asked = false
		line.say("line", string(text))
	})
	c.On.End(func() { line.say("end") })
	c.On.Error(func(error) {}) // over tells it
	c.On.Close(func(bool) {
		if left && c.Err() == nil {
			line.say("timeout: SetTimeout")
		} else {
			line.over(c)
		}
	})
}

// none is the certificate of a server that is only here to wait for handshakes.
func none(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("this server waits for handshakes, but has no certificate to shake hands with")
}
