package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// spare is how many more than the members may be connected, to be told that the room is full.
const spare = 50

// serve opens a room, and returns once a signal has closed it.
func serve(network, address string, r rules) error {
	room := &room{rules: r, members: map[string]*member{}}
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: r.members + spare,
		MaxWriteBuffer: r.queue, // Write fails for a member who has so much unread
		WriteTimeout:   r.slow,  // and one who reads nothing of it is disconnected
		CloseTimeout:   5 * time.Second,
	})
	server.On.Connection(room.enter)
	server.On.Error(func(err error) { log.Println(err) }) // no descriptors left, say: it goes on
	err := server.Listen(network, address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { // on a goroutine of its own, which may wait
		stop() // a second signal ends the program at once
		evnet.DefaultLoop.Do(func() { room.close(server.Sockets()) })
		patience, cancel := context.WithTimeout(context.Background(), r.grace)
		defer cancel()
		_ = server.Shutdown(patience) // ends every socket, and in the end destroys it
	})
	evnet.Run() // returns once the server and its sockets are closed
	fmt.Println("closed")
	return nil
}
