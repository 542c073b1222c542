package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const (
	maxDelayed = 100              // delayed answers of one connection
	maxDelay   = 10 * time.Second // of each of them
)

func serve(ctx context.Context, address string) {
	server := evnet.NewServer(&evnet.ServerOptions{
		AllowHalfOpen:  true,
		MaxConnections: 1000,
		IdleTimeout:    time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   maxDelay + 5*time.Second,
	})
	server.On.Connection(answer)
	if err := server.Listen("tcp", address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

// answer answers the requests of one client, in the order in which the answers are ready.
func answer(c *evnet.Socket) {
	c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
	delayed, ended := 0, false
	endIfDone := func() {
		if ended && delayed == 0 {
			c.End()
		}
	}
	c.On.End(func() { // the client sends no more requests, but it still waits for answers
		ended = true
		endIfDone()
	})
	_ = c.Scan(nil, maxLine, func(line []byte) {
		id, text, _ := strings.Cut(string(line), " ")
		reply := func() {
			if _, err := fmt.Fprintf(c, "%s %s\n", id, strings.ToUpper(text)); err != nil {
				c.Destroy(err) // the client does not read its answers; on a closed socket Destroy does nothing
			}
		}
		delay, err := time.ParseDuration(text)
		switch {
		case err != nil || delay <= 0:
			reply()
		case delayed == maxDelayed:
			c.Destroy(errTooMany)
		default:
			delayed++
			c.Loop().AfterFunc(min(delay, maxDelay), func() {
				delayed--
				reply()
				endIfDone()
			})
		}
	})
}
