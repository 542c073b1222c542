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

func (o *options) runServer(ctx context.Context) {
	options := &evnet.ServerOptions{
		FirstByteTimeout: o.firstByte, // a client that connects and sends nothing
		IdleTimeout:      o.idle,      // a client that becomes idle
		CloseTimeout:     o.close,     // a client that never ends its side
	}
	if o.handshake > 0 {
		options.HandshakeTimeout = o.handshake // a client that does not complete the handshake
		options.TLSConfig = &tls.Config{GetCertificate: noCertificate}
	}
	server := evnet.NewServer(options)
	server.On.Connection(o.handle)
	server.On.TLSClientError(func(err error, c *evnet.Socket) { // before Connection
		events := timeline{"server:", time.Now().Add(-o.handshake)}
		if closedBy(err) == "" {
			events.start = time.Now()
		}
		events.printClosed(c)
	})
	if err := server.Listen("tcp", o.listen, func() { printable.Println("server: listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("server: closed")
}

// handle asks an idle client whether it is still there. If the client does not answer, handle says goodbye and ends.
func (o *options) handle(c *evnet.Socket) {
	events := timeline{"server:", time.Now()}
	events.print("connection")
	_ = c.SetTimeout(o.ask) // emits Timeout and closes nothing
	asked, ended := false, false
	c.On.Timeout(func() {
		switch {
		case !asked:
			asked = true
			events.print("timeout event: asks the client")
			_, _ = c.WriteString("are you still there?\n") // restarts the timeout
		case !ended:
			ended = true
			events.print("timeout event: says goodbye")
			_, _ = c.WriteString("goodbye\n")
			c.End() // starts CloseTimeout
		}
	})
	_ = c.Scan(bufio.ScanLines, 1000, func(line []byte) {
		asked = false
		events.print("line:", string(line))
	})
	c.On.End(func() { events.print("end") })
	c.On.Error(func(error) {}) // printClosed prints it
	c.On.Close(func(bool) {
		if ended && c.Err() == nil {
			events.print("closed: SetTimeout")
		} else {
			events.printClosed(c)
		}
	})
}

// noCertificate makes every handshake fail: the server only shows the timeout.
func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("this server has no certificate")
}
