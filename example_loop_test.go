package evnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"evnet"
)

// A separate loop; Run returns when nothing is open on it.
func ExampleLoop_Run() {
	loop := evnet.NewLoop()
	here, there := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})
	s.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	go func() {
		there.Write([]byte("on a loop of its own"))
		there.Close()
	}()
	loop.Run()
	fmt.Println("nothing is open")
	// Output:
	// on a loop of its own
	// nothing is open
}

// A goroutine does slow work and posts the result to the loop.
func ExampleLoop_Post() {
	loop := evnet.NewLoop()
	loop.Ref() // a result is pending
	go func() {
		sum := 0
		for n := range 1000 {
			sum += n
		}
		loop.Post(func() { // runs like the other callbacks, one at a time
			fmt.Println(sum)
			loop.Unref()
		})
	}()
	loop.Run()
	// Output: 499500
}

// SetMaxBuffered limits the bytes that all sockets of a loop buffer together.
func ExampleLoop_SetMaxBuffered() {
	loop := evnet.NewLoop()
	loop.SetMaxBuffered(64 << 10)
	here, there := net.Pipe()
	defer there.Close() // the peer reads nothing
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})
	n := 0
	for _, err := s.Write(make([]byte, 16<<10)); err == nil; _, err = s.Write(make([]byte, 16<<10)) {
		n++
	}
	fmt.Println(n, "writes queued,", loop.Buffered(), "bytes; three quarters of the limit are full")
	s.Destroy(nil)
	loop.Run()
	fmt.Println(loop.Buffered())
	// Output:
	// 3 writes queued, 49152 bytes; three quarters of the limit are full
	// 0
}

// Another goroutine sets up a socket without missing one of its events.
func ExampleLoop_Do() {
	loop := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{loop}})
	server.On.Connection(func(c *evnet.Socket) {
		c.WriteString("hello")
		c.Resume()
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan struct{})
	go func() {
		loop.Run()
		close(done)
	}()
	loop.Do(func() { // while the loop runs
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: loop})
		c.Connect("tcp", server.Address().String())
		c.On.Data(func(chunk []byte) {
			fmt.Printf("%s\n", chunk)
			c.End()
		})
		c.On.Close(func(bool) { _ = server.Close(nil) })
	})
	<-done
	// Output: hello
}

// A timer runs on the loop. It can be stopped and restarted; this one restarts itself.
func ExampleLoop_AfterFunc() {
	loop := evnet.NewLoop()
	late := loop.AfterFunc(time.Hour, func() { fmt.Println("too late") })
	ticks := 0
	var ticker *evnet.Timer
	ticker = loop.AfterFunc(time.Millisecond, func() {
		fmt.Println("tick")
		if ticks++; ticks < 3 {
			ticker.Reset(time.Millisecond)
			return
		}
		fmt.Println("stopped:", late.Stop())
	})
	loop.Run()
	// Output:
	// tick
	// tick
	// tick
	// stopped: true
}

// An unreferenced timer does not keep Run running, even if it is set to an hour as here.
func ExampleTimer_Unref() {
	loop := evnet.NewLoop()
	loop.AfterFunc(time.Hour, func() { fmt.Println("too late") }).Unref()
	loop.AfterFunc(0, func() { fmt.Println("immediately") })
	loop.Run()
	// Output: immediately
}

// A panic in a callback ends its socket. Everything else continues.
func ExampleLoop_OnPanic() {
	loop := evnet.NewLoop()
	loop.OnPanic(func(p *evnet.PanicError) { fmt.Println("contained:", p.Value) })
	here, there := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})
	s.On.Data(func([]byte) { panic("a bug") })
	s.On.Error(func(err error) { fmt.Println(err) })
	go func() {
		there.Write([]byte("x"))
		there.Close()
	}()
	loop.Run()
	fmt.Println("the program continues")
	// Output:
	// contained: a bug
	// evnet: panic in a callback: a bug
	// the program continues
}

// IdleTimeout ends an idle socket.
func ExampleSocketOptions_idleTimeout() {
	here, there := net.Pipe()
	defer there.Close() // the peer sends nothing
	s := evnet.Wrap(here, &evnet.SocketOptions{IdleTimeout: 20 * time.Millisecond})
	s.Resume()
	s.On.Error(func(err error) { fmt.Println(errors.Is(err, os.ErrDeadlineExceeded), evnet.Code(err)) })
	evnet.Run()
	// Output: true ETIMEDOUT
}

// WriteTimeout ends a socket whose peer does not read, even if the peer sends.
func ExampleSocketOptions_writeTimeout() {
	here, there := net.Pipe()
	defer there.Close() // the peer reads nothing
	s := evnet.Wrap(here, &evnet.SocketOptions{WriteTimeout: 20 * time.Millisecond})
	s.Resume()
	s.WriteString("hello")
	s.On.Error(func(err error) {
		var op *net.OpError
		fmt.Println(errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op) && op.Op == "write timeout")
	})
	evnet.Run()
	// Output: true true
}

// MaxLifetime ends a socket whatever its peer does.
func ExampleSocketOptions_maxLifetime() {
	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{MaxLifetime: 20 * time.Millisecond})
	s.Pipe(s) // an echo: the peer is never silent
	go func() {
		for answer := make([]byte, 1); ; there.Read(answer) {
			if _, err := there.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	s.On.Error(func(err error) {
		var op *net.OpError
		fmt.Println(errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op) && op.Op == "lifetime")
	})
	evnet.Run()
	// Output: true true
}

// A context limits the whole life of a socket.
func ExampleSocketOptions_context() {
	ctx, cancel := context.WithCancel(context.Background())
	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{Context: ctx})
	s.On.Error(func(err error) { fmt.Println(errors.Is(err, context.Canceled)) })
	s.Loop().Post(cancel)
	evnet.Run()
	// Output: true
}

// Serve runs a loop until a context ends, for example a context from signal.NotifyContext.
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

// Timeout only reports idleness; the program decides what to do about an idle client.
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

// Several loops use several processors; each socket stays on one loop.
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
