// The race detector is to report some of these, and some not: the argument says which to do.
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
		"wrote": wrote, "read": read, "kept": kept, "given": given, "order": order, "none": none,
	}
	acts[os.Args[1]]()
	fmt.Println("done")
}

// beside runs fn while the race detector does not know in which order it and what follows happen.
func beside(fn func()) (wait func()) {
	done := make(chan struct{})
	go func() { fn(); close(done) }()
	return func() { <-done }
}

func wrote() {
	p := make([]byte, 100)
	seen := byte(0)
	wait := beside(func() { seen = p[50] })
	race.Wrote(p)
	wait()
	fmt.Println(seen)
}

func read() {
	p := make([]byte, 100)
	wait := beside(func() { p[50] = 1 })
	race.Read(p)
	wait()
	fmt.Println(p[50])
}

func none() {
	race.Wrote(nil)
	race.Read(nil)
	p := make([]byte, 100)
	seen := byte(0)
	wait := beside(func() { seen = p[50] })
	race.Wrote(p[:50])
	race.Wrote(p[51:])
	race.Read(p)
	wait()
	fmt.Println(seen)
}

// pair is a socket on DefaultLoop and its peer.
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

// kept keeps the slices that OnRead has lent, and reads them on other goroutines while the loop goes
// on. The detector sees what happens to be close together: one of many is enough.
func kept() {
	const rounds = 200
	s, peer := pair()
	var waits []func()
	var seen [rounds]byte // printed later: printing counts as an order of events too
	check(s.OnRead(func(p []byte) bool {
		if round := len(waits); round < rounds {
			waits = append(waits, beside(func() { seen[round] = p[0] }))
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

// given gives Write a buffer while another goroutine writes to it. It is too long to be copied.
func given() {
	s, peer := pair()
	p := make([]byte, 32<<10)
	wait := beside(func() { p[len(p)/2] = 1 })
	evnet.DefaultLoop.Post(func() {
		_, _ = s.Write(p)
		s.Destroy(nil)
	})
	evnet.Run()
	wait()
	_ = peer.Close()
}

// order sets a variable before it writes and reads it when the answer has come, both ways. That is no
// race: the bytes carry the order, as they do between two conns of package net.
func order() {
	s, peer := pair()
	var asked, answered int
	s.On.Data(func(p []byte) {
		for range p {
			answered = asked
			_, _ = s.Write(make([]byte, 10))
			_, _ = s.Write(make([]byte, 32<<10)) // with the one before, in pieces
		}
	})
	wait := beside(func() {
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
