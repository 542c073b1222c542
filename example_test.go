package evnet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"evnet"
)

// A server greets each client and sends back what it says; the client ends after the greeting.
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

// A room needs no lock: the callbacks of one loop run one at a time.
func Example_chat() {
	room := map[*evnet.Socket]bool{}
	server := evnet.CreateServer(func(c *evnet.Socket) {
		room[c] = true
		c.On.Close(func(bool) { delete(room, c) })
		c.On.Data(func(line []byte) {
			for member := range room {
				member.Write(line)
			}
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	heard := 0
	for range 3 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.On.Data(func(line []byte) {
			fmt.Printf("%s\n", line)
			if heard++; heard == 3 {
				_ = server.Shutdown(context.Background()) // in a callback it does not wait
			}
		})
	}
	// One member speaks once all three are in.
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

// A writer stops when the queue is long and goes on when it has drained.
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
			c.Write(make([]byte, 10_000))
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

// Timeout only tells; what to do about an idle client is the program's choice.
func ExampleSocket_SetTimeout() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_ = c.SetTimeout(20 * time.Millisecond)
		c.On.Timeout(func() {
			c.WriteString("too slow")
			c.End()
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	// Output: too slow
}

// An encoding never splits a character, wherever the network has split the bytes.
func ExampleSocket_SetEncoding() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	if err := s.SetEncoding(evnet.UTF8); err != nil {
		fmt.Println(err)
		return
	}
	s.On.Data(func(text []byte) { fmt.Printf("%s\n", text) })
	go func() {
		there.Write([]byte("ol\xc3"))
		there.Write([]byte("\xa1"))
		there.Close()
	}()
	evnet.Run()
	// Output:
	// ol
	// á
}

// A message is not a chunk: Scan finds the lines, however the network has cut the bytes.
func ExampleSocket_Scan() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	err := s.Scan(bufio.ScanLines, 1024, func(line []byte) { fmt.Printf("%s\n", line) })
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		there.Write([]byte("first line\r\nsecond "))
		there.Write([]byte("line\nthird line"))
		there.Close()
	}()
	evnet.Run()
	// Output:
	// first line
	// second line
	// third line
}

// Code on a goroutine of its own ranges over what comes, at its own pace.
func ExampleSocket_Chunks() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for chunk, err := range s.Chunks() {
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("%s\n", chunk)
		}
		fmt.Println("that was all")
	}()
	go func() {
		there.Write([]byte("one"))
		there.Write([]byte("two"))
		there.Close()
	}()
	evnet.Run()
	<-done
	// Output:
	// one
	// two
	// that was all
}

// Code that wants a net.Conn and blocks gets a view of the socket, on a goroutine of its own.
func ExampleSocket_BlockingConn() {
	var server *evnet.Server
	server = evnet.CreateServer(func(c *evnet.Socket) {
		conn, err := c.BlockingConn()
		if err != nil {
			c.Destroy(err)
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			name, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil {
				fmt.Fprintf(conn, "hello %s", name)
			}
		}()
		_ = server.Close(nil) // one client is enough here
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.Connect("tcp", server.Address().String(), nil)
	client.WriteString("world\n")
	client.Scan(bufio.ScanLines, 100, func(line []byte) { fmt.Printf("%s\n", line) })
	evnet.Run()
	// Output:
	// hello world
}

// Any net.Conn will do: Wrap gives it events.
func ExampleWrap() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	s.On.End(func() { fmt.Println("end") })
	go func() {
		fmt.Fprint(there, "from a goroutine")
		there.Close()
	}()
	evnet.Run()
	// Output:
	// from a goroutine
	// end
}

// Errors are values: ask them what Go programs ask, or for Node's code.
func ExampleCode() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ln.Close() // nobody listens there now
	c := evnet.Connect("tcp", ln.Addr().String(), nil)
	c.On.Error(func(err error) {
		fmt.Println(evnet.Code(err), errors.Is(err, syscall.ECONNREFUSED))
	})
	c.On.Close(func(hadError bool) { fmt.Println("closed", hadError) })
	evnet.Run()
	// Output:
	// ECONNREFUSED true
	// closed true
}

// A BlockList keeps peers out, here by the rules of a file; it may change while the server runs.
func ExampleBlockList() {
	var list evnet.BlockList
	for _, rule := range []string{"203.0.113.7", "198.51.100.10-198.51.100.19", "10.0.0.0/8", "2001:db8::/32"} {
		if err := list.Add(rule); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(list.Add("10.0.0.0/33"))
	fmt.Println(list.Check(netip.MustParseAddr("198.51.100.15")), list.Check(netip.MustParseAddr("::ffff:10.1.2.3")))
	fmt.Println(&list)

	server := evnet.NewServer(&evnet.ServerOptions{BlockList: &list})
	server.On.Connection(func(c *evnet.Socket) {
		fmt.Println("welcome")
		c.End()
		_ = list.AddAddress(netip.MustParseAddr("127.0.0.1")) // no second time
	})
	err := server.Listen("tcp", "127.0.0.1:0", func() {
		first := evnet.Connect("tcp", server.Address().String(), nil)
		first.Resume()
		first.On.Close(func(bool) {
			second := evnet.Connect("tcp", server.Address().String(), nil)
			second.Resume()
			second.On.Close(func(hadError bool) {
				fmt.Println("closed", hadError)
				_ = server.Close(nil)
			})
		})
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	evnet.Run()
	// Output:
	// evnet: prefix length is out of range: 10.0.0.0 has 0 to 32 bits (rule "10.0.0.0/33")
	// true true
	// Subnet: IPv6 2001:db8::/32
	// Subnet: IPv4 10.0.0.0/8
	// Range: IPv4 198.51.100.10-198.51.100.19
	// Address: IPv4 203.0.113.7
	// welcome
	// closed false
}

// A program that ends by a context, such as that of signal.NotifyContext, serves its loop.
func ExampleLoop_Serve() {
	loop := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{loop}})
	server.On.Close(func() { fmt.Println("closed") })
	ctx, cancel := context.WithCancel(context.Background())
	if err := server.Listen("tcp", "127.0.0.1:0", cancel); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loop.Serve(ctx))
	// Output:
	// closed
	// context canceled
}

// Several loops use several processors; each socket stays on one of them.
func ExampleServerOptions_loops() {
	home, other := evnet.NewLoop(), evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{home, other}})
	server.On.Connection(func(c *evnet.Socket) { c.Pipe(c) })
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = other.Serve(ctx)
	}()
	left := 4
	for range 4 {
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: home})
		c.On.Ready(func() { c.WriteString("ping") })
		c.On.Data(func([]byte) { c.End() })
		c.On.Close(func(bool) {
			if left--; left == 0 {
				_ = server.Close(nil)
			}
		})
		c.Connect("tcp", server.Address().String())
	}
	home.Run()
	cancel()
	<-done
	fmt.Println("all four answered")
	// Output: all four answered
}
