package evnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"evnet"
)

// A server greets each client and echoes its data; the client ends after the greeting.
func Example() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.WriteString("hello")
		c.Pipe(c)
	})
	err := server.Listen("tcp", "127.0.0.1:0", func() {
		client := evnet.Connect("tcp", server.Address().String(), nil)
		client.On.Data(func(chunk []byte) {
			fmt.Printf("%s\n", chunk)
			client.End()
		})
		client.On.Close(func(bool) { _ = server.Close(nil) })
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	evnet.Run() // until the server and both sockets have closed
	fmt.Println("all closed")
	// Output:
	// hello
	// all closed
}

// A chat room needs no lock, because the callbacks of one loop run one at a time. A member that does not read is
// disconnected when its queue is full, so that it does not get a stream with gaps.
func Example_chat() {
	room := map[*evnet.Socket]bool{}
	server := evnet.CreateServer(func(c *evnet.Socket) {
		room[c] = true
		c.On.Close(func(bool) { delete(room, c) })
		c.On.Data(func(line []byte) {
			for member := range room {
				if _, err := member.Write(line); errors.Is(err, evnet.ErrWriteBufferFull) {
					member.Destroy(err)
				}
			}
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	received := 0
	for range 3 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.On.Data(func(line []byte) {
			fmt.Printf("%s\n", line)
			if received++; received == 3 {
				_ = server.Shutdown(context.Background()) // does not block in a callback
			}
		})
	}
	// One member sends a line once all three have joined.
	server.On.Connection(func(c *evnet.Socket) {
		if len(room) == 3 {
			for member := range room {
				member.WriteString("welcome")
			}
		}
	})
	evnet.Run()
	// Output:
	// welcome
	// welcome
	// welcome
}

// The life of one connection, event by event.
func Example_events() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.Pipe(c)
		_ = c.Server().Close(nil) // one client is enough here
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.NewSocket(nil)
	c.On.Connect(func() { fmt.Println("connect", c.ReadyState()) })
	c.On.Ready(func() { c.WriteString("ping") })
	c.On.Data(func(chunk []byte) {
		fmt.Printf("data %s\n", chunk)
		c.End()
	})
	c.On.Finish(func() { fmt.Println("finish", c.ReadyState()) })
	c.On.End(func() { fmt.Println("end") })
	c.On.Close(func(hadError bool) { fmt.Println("close", hadError, c.BytesWritten(), c.BytesRead()) })
	c.Connect("tcp", server.Address().String())
	evnet.Run()
	// Output:
	// connect open
	// data ping
	// finish readOnly
	// end
	// close false 4 4
}

// On.Data and the other methods return a Listener, which can be removed. Once registers a one-time listener.
func ExampleListener_Off() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.Once.Data(func(chunk []byte) { fmt.Printf("first: %s\n", chunk) })
	var counted evnet.Listener
	count := 0
	counted = s.On.Data(func([]byte) {
		if count++; count == 2 {
			counted.Off()
		}
	})
	s.On.Close(func(bool) { fmt.Println("counted:", count, "listening still:", s.ListenerCount(evnet.EventData)) })
	s.On.Data(func(chunk []byte) { fmt.Printf("each: %s\n", chunk) })
	go func() {
		for _, text := range []string{"one", "two", "three"} {
			there.Write([]byte(text))
		}
		there.Close()
	}()
	evnet.Run()
	// Output:
	// first: one
	// each: one
	// each: two
	// each: three
	// counted: 2 listening still: 1
}

// Prepend registers a listener before the existing ones.
func ExampleSocketEvents() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.On.End(func() { fmt.Println("registered first") })
	s.Prepend.End(func() { fmt.Println("called first") })
	s.Resume() // discards the data: without reading there is no end
	go there.Close()
	evnet.Run()
	// Output:
	// called first
	// registered first
}
