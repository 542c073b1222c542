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

// extraConnections is the number of connections beyond -members that are accepted, to reply that the room is full.
const extraConnections = 50

// serve opens a room and returns after a signal has closed it.
func serve(network, address string, l limits) error {
	room := &room{limits: l, members: map[string]*member{}}
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: l.maxMembers + extraConnections,
		MaxWriteBuffer: l.queue, // Write fails for a member with this much unread data
		WriteTimeout:   l.slow,  // the server disconnects a member that reads none of its queued data
		CloseTimeout:   5 * time.Second,
	})
	server.On.Connection(room.accept)
	server.On.Error(func(err error) { log.Println(err) }) // no free file descriptor, for example: the server continues
	err := server.Listen(network, address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { // runs on its own goroutine, which may block
		stop() // a second signal ends the program immediately
		evnet.DefaultLoop.Do(func() { room.close(server.Sockets()) })
		deadline, cancel := context.WithTimeout(context.Background(), l.grace)
		defer cancel()
		_ = server.Shutdown(deadline) // ends every socket, and destroys those still open at the deadline
	})
	evnet.Run() // returns when the server and its sockets are closed
	fmt.Println("closed")
	return nil
}
