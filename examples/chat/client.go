package main

import (
	"context"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// join connects to a room: it prints what the room sends and sends the lines of the standard input. It returns when the
// input has ended and the room has received all of it, when the room ends the connection, or after a signal.
func join(network, address, nick string) error {
	client := evnet.NewSocket(&evnet.SocketOptions{Dialer: &net.Dialer{Timeout: 10 * time.Second}})
	_ = client.Scan(nil, 0, func(line []byte) { printable.Println(string(line)) }) // the room is not trusted
	client.On.Error(func(error) {})                                                // returned below
	client.On.Connect(func() {
		if nick != "" {
			_, _ = client.WriteString("/nick " + nick + "\n")
		}
		go func() { // reading the input blocks, which the loop must not do
			if _, err := client.ReadFrom(os.Stdin); err != nil && client.Writable() {
				log.Println(err) // an error of the input, not of the connection
			}
			client.End() // the room receives everything sent before, then ends its side
		}()
	})
	client.Connect(network, address)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the program immediately
		client.End()
		client.Loop().AfterFunc(3*time.Second, func() { client.Destroy(nil) }).Unref() // if the room does not answer
	})
	evnet.Run()
	return client.Err()
}
