package evnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"evnet"
)

// A server that sends back the data of each client.
func ExampleCreateServer() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		fmt.Println("client connected")
		c.On.End(func() { fmt.Println("client disconnected") })
		c.Pipe(c)
	})
	err := server.Listen("tcp", "127.0.0.1:0", func() {
		fmt.Println("listening on", server.Address().Network())
		go func() { // a blocking client
			defer server.Close(nil)
			c, err := net.Dial("tcp", server.Address().String())
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Fprint(c, "hello")
			io.ReadFull(c, make([]byte, 5))
			c.Close()
		}()
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	evnet.Run()
	// Output:
	// listening on tcp
	// client connected
	// client disconnected
}

// Limits for untrusted clients: number, time and memory.
// The listener accepts the calls of package net, here for a copy of the descriptor that another process could inherit.
func ExampleServer_Listener() {
	server := evnet.NewServer(nil)
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	file, err := server.Listener().(*net.TCPListener).File() // for exec.Cmd.ExtraFiles
	fmt.Println(file != nil, err)
	_ = file.Close()
	_ = server.Close(nil)
	fmt.Println(server.Listener())
	evnet.Run()
	// Output:
	// true <nil>
	// <nil>
}

func ExampleNewServer() {
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   1,
		FirstByteTimeout: 10 * time.Second, // a client that connects and sends nothing
		IdleTimeout:      time.Minute,      // a client that becomes idle
		CloseTimeout:     10 * time.Second, // a client that never ends
		MaxWriteBuffer:   1 << 20,          // a client that does not read
	})
	server.On.Connection(func(c *evnet.Socket) {
		fmt.Println("connection")
		c.Pipe(c)
	})
	server.On.Drop(func(evnet.Drop) { // a client over the limit
		fmt.Println("drop")
		server.CloseAllConnections()
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.Resume()
		c.On.Error(func(error) {}) // the second one may get a reset
	}
	evnet.Run()
	// Output:
	// connection
	// drop
}

// The server disconnects a client that sends nothing, and the error names the limit.
func ExampleServerOptions_firstByteTimeout() {
	server := evnet.NewServer(&evnet.ServerOptions{FirstByteTimeout: 20 * time.Millisecond})
	server.On.Connection(func(c *evnet.Socket) {
		c.Resume()
		c.On.Error(func(err error) {
			var op *net.OpError
			if errors.As(err, &op) && errors.Is(err, os.ErrDeadlineExceeded) {
				fmt.Println("too slow:", op.Op)
			}
		})
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil) // sends nothing
	c.Resume()
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	// Output: too slow: first byte
}

// MaxConnectionsPerAddress limits the connections of one address, so that no peer takes them all. Drop reports why
// the next one is closed.
func ExampleServerOptions_maxConnectionsPerAddress() {
	server := evnet.NewServer(&evnet.ServerOptions{MaxConnections: 1000, MaxConnectionsPerAddress: 1})
	server.On.Connection(func(c *evnet.Socket) {
		fmt.Println("connection")
		c.Resume()
	})
	server.On.Drop(func(d evnet.Drop) {
		fmt.Println("dropped:", d.Reason)
		server.CloseAllConnections()
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.Resume()
		c.On.Error(func(error) {}) // the second one may get a reset
	}
	evnet.Run()
	// Output:
	// connection
	// dropped: MaxConnectionsPerAddress
}

// MaxConnectionRate limits the work that a flood of connections causes: connections over the rate are closed.
func ExampleServerOptions_maxConnectionRate() {
	server := evnet.NewServer(&evnet.ServerOptions{MaxConnectionRate: 1}) // one per second
	server.On.Connection(func(c *evnet.Socket) {
		fmt.Println("connection")
		c.Resume()
	})
	server.On.Drop(func(d evnet.Drop) {
		if d.Reason == evnet.DropRate {
			fmt.Println("too fast")
		}
		server.CloseAllConnections()
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.Resume()
		c.On.Error(func(error) {}) // the second one may get a reset
	}
	evnet.Run()
	// Output:
	// connection
	// too fast
}

// Listen binds synchronously and returns any bind error.
func ExampleServer_Listen() {
	first, second := evnet.CreateServer(nil), evnet.CreateServer(nil)
	if err := first.Listen("tcp", "127.0.0.1:0", nil); err != nil { // port 0 chooses a free port
		fmt.Println(err)
		return
	}
	err := second.Listen("tcp", first.Address().String(), nil)
	fmt.Println(evnet.Code(err), second.Listening())
	_ = first.Close(func() { fmt.Println("closed") })
	evnet.Run()
	// Output:
	// EADDRINUSE false
	// closed
}

// Programs on one machine communicate over a path, without a port.
func ExampleServer_Listen_unix() {
	dir, err := os.MkdirTemp("", "evnet")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.WriteString("hello by path")
		c.End()
		c.Resume()
	})
	if err := server.Listen("unix", path, nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("unix", path, nil)
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	_, err = os.Stat(path)
	fmt.Println("the file is removed:", errors.Is(err, os.ErrNotExist))
	// Output:
	// hello by path
	// the file is removed: true
}

// A context closes the server, as Close does.
func ExampleServer_ListenContext() {
	ctx, cancel := context.WithCancel(context.Background())
	server := evnet.CreateServer(nil)
	server.On.Close(func() { fmt.Println("closed") })
	if err := server.ListenContext(ctx, "tcp", "127.0.0.1:0", cancel); err != nil {
		fmt.Println(err)
		return
	}
	evnet.Run()
	// Output: closed
}

// Serve accepts any net.Listener, such as one inherited from another program.
func ExampleServer_Serve() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.WriteString("served")
		c.End()
		c.Resume()
	})
	if err := server.Serve(ln); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", ln.Addr().String(), nil)
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	// Output: served
}

// Close accepts no more connections. Open connections continue until they end.
func ExampleServer_Close() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.Pipe(c)
		_ = c.Server().Close(func() { fmt.Println("the last connection has closed") })
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.WriteString("still served")
	c.On.Data(func(chunk []byte) {
		fmt.Printf("%s\n", chunk)
		c.End()
	})
	evnet.Run()
	// Output:
	// still served
	// the last connection has closed
}

// A graceful shutdown: every connection is ended, and those still open when the context ends are destroyed.
func ExampleServer_Shutdown() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.On.Data(func(chunk []byte) { c.Write(chunk) })
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	shutdown := func() { // as after a signal
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ended <- server.Shutdown(ctx)
	}
	c := evnet.Connect("tcp", server.Address().String(), nil)
	c.WriteString("ping")
	c.On.Data(func(chunk []byte) {
		fmt.Printf("%s\n", chunk)
		go shutdown() // it blocks, and needs the running loop
	})
	c.On.End(func() { fmt.Println("the server has ended") })
	over := make(chan struct{})
	go func() {
		evnet.Run()
		close(over)
	}()
	fmt.Println(<-ended)
	<-over
	// Output:
	// ping
	// the server has ended
	// <nil>
}

// A message for every connected client.
func ExampleServer_Sockets() {
	server := evnet.CreateServer(nil)
	server.On.Connection(func(c *evnet.Socket) {
		if c.Resume(); server.Connections() < 3 {
			return
		}
		for _, c := range server.Sockets() {
			c.WriteString("all are here")
			c.End()
		}
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		c := evnet.Connect("tcp", server.Address().String(), nil)
		c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	}
	evnet.Run()
	// Output:
	// all are here
	// all are here
	// all are here
}

// A BlockList refuses peers, here with the rules of a file. It may change while the server runs.
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
		_ = list.AddAddress(netip.MustParseAddr("127.0.0.1")) // later connections of this peer are refused
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
