package main

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// accept implements the workload accept. It opens a connection, sends one message, waits for the echo,
// closes the connection and opens the next one. It has -conns connections at the same time. A message is
// one connection. Its latency is the time from the creation of the socket to the complete echo.
type accept struct {
	*generator
	visits []visit
}

type visit struct {
	fd            int
	began         int64
	sent, got     int
	awaitsConnect bool
}

func (a *accept) open() error {
	a.visits = make([]visit, a.options.conns)
	for i := range a.visits {
		if err := a.begin(int32(i)); err != nil {
			return err
		}
	}
	return nil
}

func (a *accept) begin(index int32) error {
	v := &a.visits[index]
	*v = visit{began: a.now()}
	var err error
	if v.fd, err = a.generator.begin(); err != nil {
		return err
	}
	if err := a.sendMessage(v); err != nil {
		return err
	}
	events := uint32(unix.EPOLLIN)
	if v.awaitsConnect = v.sent == 0; v.awaitsConnect {
		events |= unix.EPOLLOUT
	}
	return a.add(v.fd, index, events)
}

// sendMessage sends the message, unless the connection is not established yet. A partial write is an
// error, because the send buffer of a new connection is empty and larger than the message.
func (a *accept) sendMessage(v *visit) error {
	n, _, err := send(v.fd, a.at(0, a.options.size))
	if err != nil {
		return fmt.Errorf("connection %d: %w", a.opened, err)
	}
	if v.sent = n; n > 0 && n < a.options.size {
		return fmt.Errorf("connection %d: sent only %d bytes of a message", a.opened, n)
	}
	return nil
}

func (a *accept) event(index int32, events uint32) error {
	v := &a.visits[index]
	if v.awaitsConnect {
		if err := a.sendMessage(v); err != nil || v.sent == 0 {
			return err
		}
		v.awaitsConnect = false
		return a.modify(v.fd, index, unix.EPOLLIN)
	}
	n, again, err := receive(v.fd, a.buffer, 0)
	switch {
	case again:
		return nil
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	case err == nil && (v.got+n > a.options.size || !a.intact(a.buffer[:n], int64(v.got))):
		err = fmt.Errorf("the echo differs from the sent bytes")
	}
	if err != nil {
		return fmt.Errorf("connection with one message: %w", err)
	}
	now := a.now()
	a.arrived(n, now)
	if v.got += n; v.got < a.options.size {
		return nil
	}
	a.timed(v.began, now)
	if err := unix.Close(v.fd); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return a.begin(index)
}

func (a *accept) tick() error { return nil }
