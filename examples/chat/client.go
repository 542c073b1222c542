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

// visit joins a room: what it says goes to the standard output, and the standard input to it. It returns
// when the input has ended and the room has had all of it, when the room ends, and after a signal.
func visit(network, address, nick string) error {
	client := evnet.NewSocket(&evnet.SocketOptions{Dialer: &net.Dialer{Timeout: 10 * time.Second}})
	_ = client.Scan(nil, 0, func(line []byte) { printable.Println(string(line)) }) // a room may send anything
	client.On.Error(func(error) {})                                                // returned below
	client.On.Connect(func() {
		if nick != "" {
			_, _ = client.WriteString("/nick " + nick + "\n")
		}
		go func() { // reading the input may wait: the loop must not
			if _, err := client.ReadFrom(os.Stdin); err != nil && client.Writable() {
				log.Println(err) // of the input
			}
			client.End() // the room hears all that was said before, then ends its side
		}()
	})
	client.Connect(network, address)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the program at once
		client.End()
		client.Loop().AfterFunc(3*time.Second, func() { client.Destroy(nil) }).Unref() // should the room not answer
	})
	evnet.Run()
	return client.Err()
}
