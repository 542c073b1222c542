package evnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"evnet"
	"evnet/internal/evtest"
)

// A client that sends a request, prints the answer and ends.
func ExampleConnect() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.Once.Data(func(name []byte) { fmt.Fprintf(c, "hello %s", name) })
		_ = c.Server().Close(nil) // one client is enough here
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.Connect("tcp", server.Address().String(), func() { fmt.Println("connected") })
	client.WriteString("world") // sent once connected
	client.On.Data(func(chunk []byte) {
		fmt.Printf("%s\n", chunk)
		client.End()
	})
	client.On.Error(func(err error) { fmt.Println(err) })
	evnet.Run()
	// Output:
	// connected
	// hello world
}

// A closed socket may connect again, here after a pause. Its listeners stay registered.
func ExampleSocket_Connect_again() {
	server := evnet.CreateServer(func(c *evnet.Socket) { c.Destroy(nil) }) // closes every connection
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	address := server.Address().String()
	c := evnet.NewSocket(nil)
	tries := 0
	c.Resume()
	c.On.Error(func(error) {}) // a reset: it may arrive before the end
	c.On.Connect(func() { tries++ })
	c.On.Close(func(bool) {
		if tries == 3 {
			_ = server.Close(nil)
			return
		}
		c.Loop().AfterFunc(time.Millisecond, func() { c.Connect("tcp", address) })
	})
	c.Connect("tcp", address)
	evnet.Run()
	fmt.Println("connected", tries, "times")
	// Output: connected 3 times
}

// A context limits the attempt: here the address never answers.
func ExampleSocket_ConnectContext() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	c := evnet.NewSocket(&evnet.SocketOptions{
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	c.On.Error(func(err error) { fmt.Println(errors.Is(err, context.DeadlineExceeded), err) })
	c.ConnectContext(ctx, "tcp", "192.0.2.1:80")
	evnet.Run()
	// Output: true dial tcp 192.0.2.1:80: context deadline exceeded
}

// A socket can use any net.Conn: for example through a proxy or, as here, in memory.
func ExampleSocketOptions_dial() {
	c := evnet.NewSocket(&evnet.SocketOptions{
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				fmt.Fprintf(there, "this is %s, by %s", address, network)
				there.Close()
			}()
			return here, nil
		},
	})
	c.On.Connect(func() { fmt.Println("connect") })
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.Connect("tcp", "192.0.2.1:80")
	evnet.Run()
	// Output:
	// connect
	// this is 192.0.2.1:80, by tcp4
}

// A host may have several addresses: events report each address that the resolver finds, and each attempt.
func ExampleSocketEvents_ConnectionAttempt() {
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	c := evnet.NewSocket(&evnet.SocketOptions{
		Resolver: evtest.IPs("2001:db8::1", "192.0.2.1"), // instead of the system's resolver
		Dial:     refuse,
	})
	c.On.Lookup(func(l evnet.Lookup) { fmt.Println("lookup", l.Host, l.Address) })
	c.On.ConnectionAttempt(func(a evnet.Attempt) { fmt.Println("attempt", a.Address) })
	c.On.ConnectionAttemptFailed(func(a evnet.Attempt, err error) { fmt.Println("failed", a.Address, evnet.Code(err)) })
	c.On.Error(func(err error) {
		var all *evnet.ConnectError
		if errors.As(err, &all) {
			fmt.Println(len(all.Errs), "attempts to reach", all.Host)
		}
	})
	c.Connect("tcp", "host.example:80")
	evnet.Run()
	// Output:
	// lookup host.example 2001:db8::1
	// lookup host.example 192.0.2.1
	// attempt [2001:db8::1]:80
	// failed [2001:db8::1]:80 ECONNREFUSED
	// attempt 192.0.2.1:80
	// failed 192.0.2.1:80 ECONNREFUSED
	// 2 attempts to reach host.example
}

// Reset aborts the connection, and the peer sees that it was not a clean end.
func ExampleSocket_Reset() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_ = c.Server().Close(nil) // one client is enough here
		c.On.Close(func(hadError bool) { fmt.Println("server: close", hadError) })
		c.Reset()
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.Connect("tcp", server.Address().String(), nil)
	client.Resume()
	client.On.Error(func(err error) { fmt.Println("client:", evnet.Code(err)) })
	evnet.Run()
	// Output:
	// server: close false
	// client: ECONNRESET
}

// Destroy ends a socket immediately. Error and Err report its error.
func ExampleSocket_Destroy() {
	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, nil)
	s.On.Error(func(err error) { fmt.Println("error:", err) })
	s.On.Close(func(hadError bool) { fmt.Println("close", hadError) })
	s.Destroy(errors.New("not welcome"))
	evnet.Run()
	fmt.Println(s.Err(), s.Closed())
	// Output:
	// error: not welcome
	// close true
	// not welcome true
}

// Errors are values: use errors.Is and errors.As, or compare Node's code.
func ExampleCode() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ln.Close() // the port has no listener now
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
