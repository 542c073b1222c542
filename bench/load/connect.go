package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// An address has some 28,000 ephemeral ports, and the port of a closed connection stays reserved for a
// while. Therefore connections use several source addresses of the loopback network.
const (
	sources    = 32
	otherFiles = 32
)

// raiseFileLimit raises the limit of open files and checks that it suffices for conns connections.
func raiseFileLimit(conns int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setrlimit: %w", err)
	}
	if need := uint64(conns + otherFiles); limit.Max < need {
		return fmt.Errorf("%d connections need %d open files, and the limit is %d: raise it with `ulimit -Hn %d`", conns, need, limit.Max, need)
	}
	return nil
}

// begin creates a non-blocking socket and starts to connect it to the server. On the loopback network
// the socket is connected when begin returns, unless the accept queue of the server is full.
func (g *generator) begin() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + g.opened%sources)}}
	g.opened++
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		// Without this option bind chooses the port before it knows the destination, so that it runs out
		// of ports earlier.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, source))
	if err == nil {
		err = unix.Connect(fd, g.server)
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connection %d: connect: %w", g.opened, err)
	}
	return fd, nil
}

// connect returns a connected socket.
func (g *generator) connect() (fd int, err error) {
	// A pause after every 64 connections lets the server accept them: if its accept queue is full, a
	// connection is delayed by a second.
	if g.opened%64 == 63 {
		time.Sleep(time.Millisecond)
	}
	if fd, err = g.begin(); err != nil {
		return -1, err
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for deadline := time.Now().Add(stallTimeout); ; {
		n, err := unix.Poll(ready, int(stallTimeout.Milliseconds()))
		if n == 1 || err != nil && err != unix.EINTR {
			break
		}
		if time.Now().After(deadline) {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("connection %d: not accepted within %v", g.opened, stallTimeout)
		}
	}
	if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		_ = unix.Close(fd)
		if err == nil {
			err = unix.Errno(code)
		}
		return -1, fmt.Errorf("connection %d: connect: %w", g.opened, err)
	}
	return fd, nil
}
