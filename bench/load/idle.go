package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// idle implements the workload idle. It opens its connections and sends one message, on the last
// connection. When the message is echoed, the server has accepted all connections. A message is one
// connection.
type idle struct {
	*generator
	fds []int
}

func (i *idle) open() error {
	for range i.options.conns {
		fd, err := i.connect()
		if err != nil {
			return err
		}
		i.fds = append(i.fds, fd)
	}
	last := i.fds[len(i.fds)-1]
	if err := unix.SetNonblock(last, false); err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(stallTimeout))
	if err := unix.SetsockoptTimeval(last, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	if _, _, err := send(last, i.at(0, i.options.size)); err != nil {
		return err
	}
	got := i.buffer[:i.options.size]
	n, again, err := receive(last, got, unix.MSG_WAITALL)
	if err != nil {
		return err
	}
	if again || n < len(got) || !i.intact(got, 0) {
		return fmt.Errorf("last of %d connections: no correct echo within %v: received %d of %d bytes", len(i.fds), stallTimeout, n, len(got))
	}
	return nil
}

func (i *idle) event(int32, uint32) error { return nil }

func (i *idle) tick() error {
	i.messages = int64(len(i.fds))
	return nil
}
