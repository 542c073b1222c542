// Command plain is the benchmark's server on package net alone: a goroutine for each connection.
package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse("udp")
	if o.Workload == "udp" {
		echoDatagrams()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(ln.Addr())
	serve := handler(o)
	for {
		c, err := ln.Accept()
		if err != nil {
			kit.Fatal(err)
		}
		go serve(c.(*net.TCPConn))
	}
}

func handler(o kit.Options) func(*net.TCPConn) {
	switch o.Workload {
	case "line":
		return func(c *net.TCPConn) { answerLines(c, o.BufferSize()) }
	case "broadcast":
		h := &hall{conns: make(map[*net.TCPConn]struct{})}
		return func(c *net.TCPConn) { h.serve(c, o.BufferSize()) }
	case "proxy":
		return func(c *net.TCPConn) { relay(c, o.Upstream) }
	default:
		return func(c *net.TCPConn) { echo(c, o.BufferSize()) }
	}
}

func echo(c *net.TCPConn, size int) {
	defer c.Close()
	buf := make([]byte, size)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// echoDatagrams is one goroutine, as there is one socket. It does not return.
func echoDatagrams() {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(c.LocalAddr())
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			kit.Fatal(err)
		}
		if _, err := c.WriteToUDPAddrPort(buf[:n], from); err != nil {
			kit.Fatal(err)
		}
	}
}

func answerLines(c *net.TCPConn, size int) {
	defer c.Close()
	eachLine(c, size, func(line []byte) error {
		_, err := c.Write(line)
		return err
	})
}

// eachLine reads lines in place; only one longer than the buffer is put together.
func eachLine(c *net.TCPConn, size int, do func(line []byte) error) {
	r := bufio.NewReaderSize(c, size)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			begun := append([]byte(nil), line...)
			line, err = r.ReadBytes('\n')
			line = append(begun, line...)
		}
		if err != nil || do(line) != nil {
			return
		}
	}
}

// hall is the connections a broadcast reaches. The ticker's own goroutine writes to all of them: to
// give each a goroutine and a channel would cost two switches more per line.
type hall struct {
	mu    sync.Mutex
	conns map[*net.TCPConn]struct{}
}

func (h *hall) serve(c *net.TCPConn, size int) {
	h.mu.Lock()
	h.conns[c] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.conns, c)
		h.mu.Unlock()
		c.Close()
	}()
	eachLine(c, size, h.tick)
}

// tick leaves a conn that fails to its own reader.
func (h *hall) tick(line []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		for range kit.BroadcastLines {
			if _, err := c.Write(line); err != nil {
				break
			}
		}
	}
	return nil
}

func relay(c *net.TCPConn, upstream string) {
	defer c.Close()
	conn, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer conn.Close()
	up := conn.(*net.TCPConn)
	back := make(chan struct{})
	go func() {
		defer close(back)
		pass(c, up)
	}()
	pass(up, c)
	<-back
}

// pass lets the kernel move the bytes: io.Copy between two TCP connections splices.
func pass(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}
