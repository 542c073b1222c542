// Graceful-shutdown ends on a signal without breaking off the work of its clients. It stops accepting, says goodbye to
// each client, lets running jobs finish for a limited time, and then destroys the connections that are left:
//
//	go run ./examples/recipes/graceful-shutdown
//	nc 127.0.0.1 9108
//
// Each line is a job that takes the time it names, such as 5s. Press Ctrl-C in the server's terminal while a job is
// running. A second Ctrl-C ends the server immediately.
//
// The exit code is 0 if every client has ended, 1 if connections were destroyed, and 128 plus the number of the signal
// after a second signal.
package main

import (
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

const (
	maxLine = 4096
	maxWork = time.Minute // for one job
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9108", "`address` to listen on; port 0 takes a free one")
	grace := flag.Duration("grace", 10*time.Second, "how long clients may take to end after a signal")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}

	s := newService(*grace)
	if err := s.server.Listen("tcp", *address, func() { printable.Println("listening on", s.server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	signals := make(chan os.Signal, 2) // room for both: signal.Notify does not wait
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		evnet.DefaultLoop.Post(s.stop)
		second := <-signals
		fmt.Println("second signal: not waiting")
		os.Exit(128 + int(second.(syscall.Signal)))
	}()
	evnet.Run() // until the server and all its connections are closed
	printable.Printf("closed, connections destroyed: %d\n", s.destroyed)
	if s.destroyed > 0 {
		os.Exit(1)
	}
}

// service belongs to the loop: all its methods run there.
type service struct {
	server    *evnet.Server
	grace     time.Duration
	clients   map[*client]bool
	stopping  bool
	destroyed int
}

type client struct {
	socket *evnet.Socket
	job    *evnet.Timer // the running job, or nil
}

func newService(grace time.Duration) *service {
	s := &service{grace: grace, clients: map[*client]bool{}}
	s.server = evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: 1000,
		IdleTimeout:    maxWork + time.Minute, // a running job counts as silence
		WriteTimeout:   30 * time.Second,
	})
	s.server.On.Connection(s.accept)
	return s
}

func (s *service) accept(socket *evnet.Socket) {
	c := &client{socket: socket}
	s.clients[c] = true
	socket.On.Error(func(err error) { log.Println(socket.RemoteAddr(), err) })
	socket.On.Close(func(bool) {
		delete(s.clients, c)
		if c.job != nil {
			c.job.Stop() // no client waits for its result
		}
	})
	_ = socket.Scan(nil, maxLine, func(line []byte) {
		if !s.stopping {
			s.begin(c, string(line))
		}
	})
}

// begin runs one job. A client has one job at a time: its further lines wait until the job is done.
func (s *service) begin(c *client, line string) {
	c.socket.Pause()
	work, _ := time.ParseDuration(line) // 0 if the line is something else
	c.job = evnet.DefaultLoop.AfterFunc(min(work, maxWork), func() {
		c.job = nil
		if _, err := fmt.Fprintf(c.socket, "done: %s\n", line); err != nil {
			c.socket.Destroy(err)
			return
		}
		if s.stopping {
			c.socket.End()
		}
		c.socket.Resume()
	})
}

// stop begins the shutdown.
func (s *service) stop() {
	s.stopping = true
	_ = s.server.Close(nil) // stops accepting; open connections stay open
	busy := 0
	for c := range s.clients {
		_, _ = c.socket.WriteString("goodbye\n")
		if c.job == nil {
			c.socket.End() // the client reads the goodbye and the end, and then ends too
		} else {
			busy++
		}
	}
	printable.Printf("stopping, clients: %d, with a running job: %d\n", len(s.clients), busy)
	// The timer does not keep the program running if all clients end earlier.
	evnet.DefaultLoop.AfterFunc(s.grace, s.destroyAll).Unref()
}

// destroyAll ends the connections that are left after the grace period.
func (s *service) destroyAll() {
	for c := range s.clients {
		s.destroyed++
		c.socket.Destroy(nil)
	}
}
