package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// broadcast sends one line from its last connection, which makes the server send -depth lines to
// every connection, and sends the next when every connection has got its lines. A message is one
// line delivered; its time is that from the tick to the last of the lines on that connection.
type broadcast struct {
	*generator
	fds      []int
	line     []byte // that makes a tick
	received []int64
	due      int64 // bytes that each connection is to have received when the tick is over
	waiting  int   // connections that have not
	tickedAt int64
}

func (b *broadcast) open() error {
	for i := range b.options.conns {
		fd, err := b.connect()
		if err != nil {
			return err
		}
		if err := b.add(fd, int32(i), unix.EPOLLIN); err != nil {
			return err
		}
		b.fds = append(b.fds, fd)
	}
	b.line = append(bytes.Repeat([]byte{'B'}, b.options.size-1), '\n')
	b.received = make([]int64, len(b.fds))
	// A server that accepts on a goroutine of its own may read the tick before it has accepted all;
	// nothing tells from here when it has.
	time.Sleep(200 * time.Millisecond)
	return b.tick(b.now())
}

func (b *broadcast) tick(now int64) error {
	b.due += int64(b.options.depth * b.options.size)
	b.waiting = len(b.fds)
	b.tickedAt = now
	n, _, err := send(b.fds[len(b.fds)-1], b.line)
	if err != nil {
		return fmt.Errorf("the ticker: %w", err)
	}
	if n < len(b.line) { // it has nothing else in flight, so this is no full buffer
		return fmt.Errorf("the ticker: only %d of %d bytes were taken", n, len(b.line))
	}
	return nil
}

func (b *broadcast) event(index int32, _ uint32) error {
	n, again, err := receive(b.fds[index], b.buffer, 0)
	before := b.received[index]
	switch {
	case again:
		return nil
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	case err == nil && before+int64(n) > b.due:
		err = fmt.Errorf("more came than the lines of the tick")
	}
	if err != nil {
		return fmt.Errorf("connection %d: %w", index, err)
	}
	size := int64(b.options.size)
	for end := size - 1 - before%size; end < int64(n); end += size {
		if b.buffer[end] != '\n' {
			return fmt.Errorf("connection %d: no end of line at byte %d", index, before+end)
		}
	}
	now := b.now()
	b.arrived(n, now)
	b.received[index] += int64(n)
	b.messages += b.received[index]/size - before/size
	if b.received[index] < b.due {
		return nil
	}
	if b.tickedAt >= b.started {
		b.histogram.Add(now - b.tickedAt)
	}
	if b.waiting--; b.waiting == 0 {
		return b.tick(now)
	}
	return nil
}

func (b *broadcast) turn() error { return nil }
