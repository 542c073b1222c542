package main

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// A stream is a connection to a server that echoes. All offsets count bytes from the beginning of the
// connection.
type stream struct {
	fd         int
	index      int32
	phase      int64 // place in the pattern of its first byte
	size       int64
	due        int64 // bytes that were issued; those beyond sent are pending
	sent       int64
	received   int64
	sentAt     []int64 // send times of the messages in flight, by message number modulo depth
	wantsWrite bool
}

// openStream connects a stream and registers its events with this index.
func (g *generator) openStream(index, size, depth int) (*stream, error) {
	fd, err := g.connect()
	if err != nil {
		return nil, err
	}
	s := &stream{fd: fd, index: int32(index), size: int64(size), sentAt: make([]int64, depth)}
	s.phase = s.size * int64(index)
	return s, g.add(fd, s.index, unix.EPOLLIN)
}

// issue sends more messages, in one write if the kernel accepts it.
func (g *generator) issue(s *stream, messages int64, now int64) error {
	for range messages {
		s.sentAt[s.due/s.size%int64(len(s.sentAt))] = now
		s.due += s.size
	}
	if s.wantsWrite {
		return nil
	}
	return g.flush(s)
}

// flush sends the pending bytes. If some remain, it registers for writability.
func (g *generator) flush(s *stream) error {
	for s.sent < s.due {
		n, again, err := send(s.fd, g.at(s.phase+s.sent, int(min(s.due-s.sent, maxWrite))))
		if err != nil {
			return fmt.Errorf("connection %d: %w", s.index, err)
		}
		if again {
			break
		}
		s.sent += int64(n)
	}
	if wants := s.sent < s.due; wants != s.wantsWrite {
		s.wantsWrite = wants
		events := uint32(unix.EPOLLIN)
		if wants {
			events |= unix.EPOLLOUT
		}
		return g.modify(s.fd, s.index, events)
	}
	return nil
}

// receive reads once, checks the received bytes and returns the number of completed messages.
func (g *generator) receive(s *stream) (completed, now int64, err error) {
	n, again, err := receive(s.fd, g.buffer, 0)
	now = g.now()
	switch {
	case again:
		return 0, now, nil
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	case err == nil && s.received+int64(n) > s.sent:
		err = fmt.Errorf("received %d bytes, but sent only %d", s.received+int64(n), s.sent)
	case err == nil && !g.intact(g.buffer[:n], s.phase+s.received):
		err = fmt.Errorf("wrong byte among %d bytes at offset %d", n, s.received)
	}
	if err != nil {
		return 0, now, fmt.Errorf("connection %d: %w", s.index, err)
	}
	g.arrived(n, now)
	before := s.received / s.size
	s.received += int64(n)
	return s.received/s.size - before, now, nil
}

// sentTime returns the send time of a completed message, counted back from the newest, which is 0.
func (s *stream) sentTime(back int64) int64 {
	return s.sentAt[(s.received/s.size-1-back)%int64(len(s.sentAt))]
}
