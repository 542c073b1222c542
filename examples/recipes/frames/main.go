// Frames speaks a binary protocol: each message is a frame with a version, a type and a length before its body. The
// server answers a request with its text in upper case, and a malformed frame with an error frame:
//
//	go run ./examples/recipes/frames
//	go run ./examples/recipes/frames -client hello world
//	python3 examples/recipes/frames/client.py 127.0.0.1 9109 hello world
//	printf '\1\1\0\0\0\5hello' | nc -N 127.0.0.1 9109 | xxd
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9109", "`address` to listen on or to connect to; port 0 takes a free one")
	client := flag.Bool("client", false, "run a client that sends each argument as a request")
	flag.Parse()
	if *client != (flag.NArg() > 0) {
		log.Println("give -client and at least one request, or neither")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *client {
		request(ctx, *address, flag.Args())
		return
	}

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   1000,
		FirstByteTimeout: 10 * time.Second,
		IdleTimeout:      time.Minute,
		WriteTimeout:     30 * time.Second,
		CloseTimeout:     5 * time.Second, // for the end of a peer after an error frame
	})
	server.On.Connection(serve)
	if err := server.Listen("tcp", *address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

// serve answers the frames of one client.
func serve(c *evnet.Socket) {
	c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
	err := readFrames(c, func(kind frameType, body []byte) error {
		switch kind {
		case typeRequest:
			return writeFrame(c, typeAnswer, bytes.ToUpper(body))
		case typeError:
			log.Printf("%v reports: %s", c.RemoteAddr(), body)
			c.End()
			return nil
		}
		return fmt.Errorf("unexpected type %d", kind)
	})
	if err != nil {
		c.Destroy(err)
	}
}

// request sends requests, prints the answers, and ends the program.
func request(ctx context.Context, address string, texts []string) {
	c := evnet.Connect("tcp", address, nil)
	context.AfterFunc(ctx, func() { c.Destroy(ctx.Err()) })
	c.On.Error(func(err error) { log.Println(err) })
	answers := 0
	_ = readFrames(c, func(kind frameType, body []byte) error {
		switch kind {
		case typeAnswer:
			printable.Println(string(body))
			if answers++; answers == len(texts) {
				c.End()
			}
			return nil
		case typeError:
			c.Destroy(fmt.Errorf("the server reports: %s", body))
			return nil
		}
		return fmt.Errorf("unexpected type %d", kind)
	})
	for _, text := range texts {
		if err := writeFrame(c, typeRequest, []byte(text)); err != nil {
			log.Fatalln(err)
		}
	}
	evnet.Run()
	if c.Err() != nil || answers < len(texts) {
		os.Exit(1)
	}
}
