// Command plain is the server of the benchmark on package net, with a goroutine for each connection.
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
		g := &group{conns: make(map[*net.TCPConn]struct{})}
		return func(c *net.TCPConn) { g.serve(c, o.BufferSize()) }
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

// echoDatagrams echoes in a single goroutine, because there is a single socket. It does not return.
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

// eachLine reads lines without copying them, except lines that are longer than the buffer.
func eachLine(c *net.TCPConn, size int, do func(line []byte) error) {
	r := bufio.NewReaderSize(c, size)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			partial := append([]byte(nil), line...)
			line, err = r.ReadBytes('\n')
			line = append(partial, line...)
		}
		if err != nil || do(line) != nil {
			return
		}
	}
}

// A group has the connections that receive a broadcast. The goroutine that reads the tick writes to all
// of them: a goroutine and a channel for each connection would cost two more goroutine switches per line.
type group struct {
	mu    sync.Mutex
	conns map[*net.TCPConn]struct{}
}

func (g *group) serve(c *net.TCPConn, size int) {
	g.mu.Lock()
	g.conns[c] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, c)
		g.mu.Unlock()
		c.Close()
	}()
	eachLine(c, size, g.tick)
}

// tick ignores a conn that fails, because the conn's reader closes it.
func (g *group) tick(line []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
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

// pass copies one direction. The kernel moves the bytes: io.Copy between two TCP connections uses splice.
func pass(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}
