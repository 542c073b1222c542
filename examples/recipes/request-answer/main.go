// Request-answer sends many requests over one connection at the same time. Each has an id, and the answers may arrive
// in any order:
//
//	go run ./examples/recipes/request-answer -serve
//	go run ./examples/recipes/request-answer hello 300ms 5s world
//
// A request is a line "ID TEXT" and its answer a line "ID ANSWER". The server answers with the text in upper case, and
// if the text is a duration it waits that long first. So the third request above has no answer within -timeout.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9107", "`address` of the server; with -serve, port 0 takes a free one")
	server := flag.Bool("serve", false, "run the server")
	timeout := flag.Duration("timeout", time.Second, "how long an answer may take")
	limit := flag.Int("max", 100, "maximum `number` of pending requests")
	flag.Parse()
	if *server != (flag.NArg() == 0) {
		log.Println("give -serve or the requests to send")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *server {
		serve(ctx, *address)
		return
	}

	c := newClient(*address, *limit)
	var failed atomic.Bool
	evnet.DefaultLoop.Ref() // the goroutines below post to the loop: it must run until they have finished
	go func() {
		defer evnet.DefaultLoop.Unref()
		var calls sync.WaitGroup
		for _, text := range flag.Args() {
			calls.Go(func() {
				answer, err := c.Call(ctx, text, *timeout)
				if err != nil {
					failed.Store(true)
					answer = err.Error()
				}
				printable.Printf("%s: %s\n", text, answer)
			})
		}
		calls.Wait()
		c.socket.Close()
	}()
	evnet.Run()
	if failed.Load() {
		os.Exit(1)
	}
}
