package evnet_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"time"

	"evnet"
)

// OnRead passes the received bytes without a copy. They are valid until the callback returns; here they are only counted.
func ExampleSocket_OnRead() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	total := 0
	err := s.OnRead(func(p []byte) bool {
		total += len(p)
		return true // continue; false pauses
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for range 100 {
			there.Write(make([]byte, 10_000))
		}
		there.Close()
	}()
	evnet.Run()
	fmt.Println(total)
	// Output: 1000000
}

// A paused socket reads nothing, and the peer waits.
func ExampleSocket_Pause() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.On.Data(func(chunk []byte) {
		fmt.Printf("%s\n", chunk)
		s.Pause()
		s.Loop().AfterFunc(time.Millisecond, func() { // slow work
			fmt.Println("done with it")
			s.Resume()
		})
	})
	go func() {
		there.Write([]byte("one"))
		there.Write([]byte("two"))
		there.Close()
	}()
	evnet.Run()
	// Output:
	// one
	// done with it
	// two
	// done with it
}

// Unshift puts surplus bytes back for the next consumer.
func ExampleSocket_Unshift() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	s.Once.Data(func(chunk []byte) {
		header, rest, _ := bytes.Cut(chunk, []byte("\n"))
		fmt.Printf("header: %s\n", header)
		if err := s.Unshift(rest); err != nil {
			fmt.Println(err)
		}
		s.On.Data(func(chunk []byte) { fmt.Printf("body: %s\n", chunk) })
	})
	go func() {
		there.Write([]byte("length unknown\nand so on"))
		there.Close()
	}()
	evnet.Run()
	// Output:
	// header: length unknown
	// body: and so on
}

// Wrap makes a socket with events of any net.Conn.
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

// A message is not a chunk: Scan finds the lines, whatever chunks the network delivers.
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

// Code on its own goroutine ranges over the received chunks, at its own pace.
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

// An encoding never splits a character, wherever the network splits the bytes.
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

// Blocking code that needs a net.Conn uses a view of the socket, on its own goroutine.
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

// Events read a header. Then blocking code takes over the conn, with the data behind the header.
func ExampleSocket_Detach() {
	here, there := net.Pipe()
	s := evnet.Wrap(here, nil)
	over := make(chan struct{})
	err := s.Scan(bufio.ScanLines, 1024, func(line []byte) {
		fmt.Printf("header: %s\n", line)
		conn, rest, err := s.Detach()
		if err != nil {
			fmt.Println(err)
			return
		}
		go func() {
			defer close(over)
			defer conn.Close()
			body, err := io.ReadAll(io.MultiReader(bytes.NewReader(rest), conn))
			fmt.Printf("body: %s %v\n", body, err)
		}()
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		there.Write([]byte("length unknown\nfirst half, "))
		there.Write([]byte("second half"))
		there.Close()
	}()
	evnet.Run()
	<-over
	// Output:
	// header: length unknown
	// body: first half, second half <nil>
}
