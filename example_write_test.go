package evnet_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"evnet"
)

// An echo: a socket piped to itself, at the pace of the reader.
func ExampleSocket_Pipe() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.Pipe(c)
		_ = c.Server().Close(nil) // one client is enough here
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.WriteString("there and back")
	c.End()
	c.Pipe(os.Stdout) // any io.Writer
	evnet.Run()
	// Output: there and back
}

// WriteThen reports the result of a write: the bytes were passed to the kernel, or the reason why not.
func ExampleSocket_WriteThen() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.WriteThen([]byte("hello"), func(err error) {
		fmt.Println("sent:", err)
		there.Close()
	})
	go there.Read(make([]byte, 5))
	s.Resume()
	evnet.Run()
	s.WriteThen([]byte("too late"), func(err error) { fmt.Println("sent:", err) })
	evnet.Run() // for the callback
	// Output:
	// sent: <nil>
	// sent: evnet: socket was destroyed
}

// Cork combines small writes until Uncork, here across more than one callback.
func ExampleSocket_Cork() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.Cork()
	s.WriteString("header ")
	s.Loop().Post(func() {
		s.WriteString("body")
		fmt.Println("waiting:", s.BufferedAmount())
		s.Uncork()
		s.End()
	})
	s.Resume()
	read := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(there)
		there.Close()
		read <- all
	}()
	evnet.Run()
	fmt.Printf("%s\n", <-read)
	// Output:
	// waiting: 11
	// header body
}

// End ends one side: data from the other side is still read.
func ExampleSocket_End() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_ = c.Server().Close(nil) // one client is enough here
		c.WriteString("goodbye")
		c.End()
		c.On.Data(func(chunk []byte) { fmt.Printf("server: %s\n", chunk) })
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.Resume()
	c.On.End(func() {
		c.WriteString("one more thing") // the End listeners may still write
	})
	evnet.Run()
	_, err := c.WriteString("too late")
	fmt.Println(err != nil)
	// Output:
	// server: one more thing
	// true
}

// Code on its own goroutine copies a file, or any other reader, at the pace of the peer.
func ExampleSocket_ReadFrom() {
	received := 0
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_ = c.Server().Close(nil) // one client is enough here
		c.On.Data(func(chunk []byte) { received += len(chunk) })
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.Resume()
	sent := make(chan int64, 1)
	go func() {
		n, err := c.ReadFrom(strings.NewReader(strings.Repeat("x", 5_000_000)))
		if err != nil {
			c.Destroy(err)
		}
		c.End()
		sent <- n
	}()
	evnet.Run()
	fmt.Println(<-sent, received)
	// Output: 5000000 5000000
}

// A peer that does not read fills the queue up to its limit. Then Write fails and queues nothing more.
func ExampleSocketOptions_maxWriteBuffer() {
	here, there := net.Pipe() // the peer does not read
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{MaxWriteBuffer: 100_000})
	for {
		if _, err := s.Write(make([]byte, 1000)); err != nil {
			fmt.Println(err)
			s.Destroy(nil)
			break
		}
	}
	evnet.Run()
	// Output: evnet: write buffer is full
}

// A writer stops when the queue is long and continues when it has drained.
func ExampleSocket_NeedDrain() {
	received := 0
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.OnRead(func(p []byte) bool {
			received += len(p)
			return true
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	left := 1000
	send := func() {
		for left > 0 && !c.NeedDrain() {
			if _, err := c.Write(make([]byte, 10_000)); err != nil {
				return // the socket has ended: NeedDrain stays false
			}
			left--
		}
		if left == 0 {
			c.End()
		}
	}
	c.On.Connect(send)
	c.On.Drain(send)
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	fmt.Println(received)
	// Output: 10000000
}

// A producer is called for the next chunk when there is room, and stops when the socket ends.
func ExampleSocket_Produce() {
	received := 0
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_ = c.Server().Close(nil) // one client is enough here
		c.OnRead(func(p []byte) bool {
			received += len(p)
			return true
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	chunk, left := make([]byte, 10_000), 1000
	c.Produce(func() ([]byte, bool) {
		left--
		return chunk, left > 0
	}, func(err error) {
		fmt.Println("sent:", err)
		c.End()
	})
	evnet.Run()
	fmt.Println(received)
	// Output:
	// sent: <nil>
	// 10000000
}

// A server that answers after the client has ended keeps its side open.
func ExampleSocketOptions_halfOpen() {
	server := evnet.NewServer(&evnet.ServerOptions{AllowHalfOpen: true})
	server.On.Connection(func(c *evnet.Socket) {
		var question strings.Builder
		c.On.Data(func(chunk []byte) { question.Write(chunk) })
		c.On.End(func() {
			c.WriteString("you asked: " + question.String())
			c.End()
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.WriteString("what time is it?")
	c.End()
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	// Output: you asked: what time is it?
}

// A TCP proxy: each client is relayed to its own connection to the upstream server.
func ExampleRelay() {
	behind := evnet.CreateServer(func(c *evnet.Socket) { c.Pipe(c) })
	if err := behind.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	outcome := errors.New("never relayed")
	proxy := evnet.CreateServer(func(c *evnet.Socket) {
		upstream := evnet.Connect("tcp", behind.Address().String(), nil)
		evnet.Relay(c, upstream, func(err error) {
			outcome = err
			_ = behind.Close(nil)
		})
	})
	if err := proxy.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", proxy.Address().String(), nil)
	c.WriteString("through the proxy and back")
	c.End()
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = proxy.Close(nil) })
	evnet.Run()
	fmt.Println("relayed:", outcome)
	// Output:
	// through the proxy and back
	// relayed: <nil>
}
