// This program has functions with and without a data race. Its argument names the function to run.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"evnet"
	"evnet/internal/race"
)

func main() {
	acts := map[string]func(){
		"wrote": wrote, "read": read, "retained": retained, "modified": modified, "order": order, "none": none,
	}
	acts[os.Args[1]]()
	fmt.Println("done")
}

// concurrently runs fn on a goroutine. For the race detector, it is concurrent with the caller until wait.
func concurrently(fn func()) (wait func()) {
	done := make(chan struct{})
	go func() { fn(); close(done) }()
	return func() { <-done }
}

func wrote() {
	p := make([]byte, 100)
	seen := byte(0)
	wait := concurrently(func() { seen = p[50] })
	race.Wrote(p)
	wait()
	fmt.Println(seen)
}

func read() {
	p := make([]byte, 100)
	wait := concurrently(func() { p[50] = 1 })
	race.Read(p)
	wait()
	fmt.Println(p[50])
}

func none() {
	race.Wrote(nil)
	race.Read(nil)
	p := make([]byte, 100)
	seen := byte(0)
	wait := concurrently(func() { seen = p[50] })
	race.Wrote(p[:50])
	race.Wrote(p[51:])
	race.Read(p)
	wait()
	fmt.Println(seen)
}

// pair returns a socket on DefaultLoop and its peer.
func pair() (*evnet.Socket, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	peer, err := net.Dial("tcp", ln.Addr().String())
	check(err)
	conn, err := ln.Accept()
	check(err)
	check(ln.Close())
	return evnet.Wrap(conn, nil), peer
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// retained keeps the borrowed slices of OnRead, and reads them on other goroutines while the loop
// continues. The detector reports accesses that are close together, so one race of many is enough.
func retained() {
	const rounds = 200
	s, peer := pair()
	var waits []func()
	var seen [rounds]byte // printed later, because printing also orders events
	check(s.OnRead(func(p []byte) bool {
		if round := len(waits); round < rounds {
			waits = append(waits, concurrently(func() { seen[round] = p[0] }))
			_, _ = peer.Write([]byte("more"))
		} else {
			_ = peer.Close()
		}
		return true
	}))
	_, _ = peer.Write([]byte("first"))
	evnet.Run()
	for _, wait := range waits {
		wait()
	}
	fmt.Println(seen)
}

// modified passes a buffer to Write while another goroutine writes to it. It is too long to be copied.
func modified() {
	s, peer := pair()
	p := make([]byte, 32<<10)
	wait := concurrently(func() { p[len(p)/2] = 1 })
	evnet.DefaultLoop.Post(func() {
		_, _ = s.Write(p)
		s.Destroy(nil)
	})
	evnet.Run()
	wait()
	_ = peer.Close()
}

// order sets a variable before it writes, and reads a variable after it receives the answer, on both sides.
// This does not race, because transferred bytes order events, as between two conns of package net.
func order() {
	s, peer := pair()
	var asked, answered int
	s.On.Data(func(p []byte) {
		for range p {
			answered = asked
			_, _ = s.Write(make([]byte, 10))
			_, _ = s.Write(make([]byte, 32<<10)) // sent in pieces, together with the write before
		}
	})
	wait := concurrently(func() {
		for i := range 3 {
			asked = i
			_, _ = peer.Write([]byte("?"))
			_, _ = io.ReadFull(peer, make([]byte, 10+32<<10))
			if answered != i {
				panic("not answered")
			}
		}
		_ = peer.Close()
	})
	evnet.Run()
	wait()
}
