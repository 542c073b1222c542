// Activation is an echo server that takes its listeners from whoever starts it, as systemd and others pass
// them on: LISTEN_FDS says how many there are, from descriptor 3 on, LISTEN_PID for which process, and
// LISTEN_FDNAMES what each is called. A port below 1024 then needs no privileges, and no connection is refused
// while the program is started anew. Where nothing is passed it listens itself. A unit for it:
//
//	[Socket]
//	ListenStream=7
//	ListenStream=/run/echo.sock
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"evnet"
)

const firstDescriptor = 3

func main() {
	log.SetFlags(0) // an error is told as it is, without the date
	network := flag.String("network", "tcp", "tcp or unix, where no listener is passed on")
	address := flag.String("addr", "127.0.0.1:8082", "where to listen then; port 0 takes a free one")
	flag.Parse()

	listeners, err := passedOn()
	if err != nil {
		log.Fatalln(err)
	}
	for _, ln := range listeners {
		if err := echo().Serve(ln); err != nil {
			log.Fatalln(err)
		}
	}
	if len(listeners) == 0 {
		if err := echo().Listen(*network, *address, nil); err != nil {
			log.Fatalln(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

func echo() *evnet.Server {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(err) })
		c.Pipe(c)
	})
	server.On.Listening(func() { fmt.Println("listening on", server.Address().Network(), server.Address()) })
	return server
}

// passedOn are the listeners that the environment tells of, none if it tells of none for this process.
func passedOn() ([]net.Listener, error) {
	count, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	if count == "" || pid != strconv.Itoa(os.Getpid()) { // they are somebody else's
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return nil, fmt.Errorf("LISTEN_FDS is %q, and should be the number of listeners", count)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var listeners []net.Listener
	for i := range n {
		name := "unknown"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		file := os.NewFile(uintptr(firstDescriptor+i), name)
		ln, err := net.FileListener(file) // on a copy of the descriptor
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("descriptor %d (%s) of LISTEN_FDS is no listener: %w", firstDescriptor+i, name, err)
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}
