package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// An address has some 28,000 ports of its own, and those of closed connections stay taken for a
// while. So connections go out from many addresses of the loopback network.
const (
	sources    = 32
	otherFiles = 32
)

// raiseFileLimit makes room for that many connections.
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
		return fmt.Errorf("%d connections need %d open files, and the limit is %d: raise it by `ulimit -Hn %d`", conns, need, limit.Max, need)
	}
	return nil
}

// begin makes a non-blocking socket and starts to connect it to the server. On the loopback network
// it is connected by the time this returns, unless the server's queue is full.
func (g *generator) begin() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + g.opened%sources)}}
	g.opened++
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		// Without it bind would choose a port without knowing the server, and find none sooner.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, source))
	if err == nil {
		err = unix.Connect(fd, g.server)
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connecting connection %d: %w", g.opened, err)
	}
	return fd, nil
}

// connect returns a socket that is connected.
func (g *generator) connect() (fd int, err error) {
	// A pause now and then lets the server accept: a connection that finds its queue full
	// comes a second late.
	if g.opened%64 == 63 {
		time.Sleep(time.Millisecond)
	}
	if fd, err = g.begin(); err != nil {
		return -1, err
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for deadline := time.Now().Add(stall); ; {
		n, err := unix.Poll(ready, int(stall.Milliseconds()))
		if n == 1 || err != nil && err != unix.EINTR {
			break
		}
		if time.Now().After(deadline) {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("connection %d was not accepted within %v", g.opened, stall)
		}
	}
	if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		_ = unix.Close(fd)
		if err == nil {
			err = unix.Errno(code)
		}
		return -1, fmt.Errorf("connecting connection %d: %w", g.opened, err)
	}
	return fd, nil
}
