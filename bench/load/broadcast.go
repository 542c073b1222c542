package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// broadcast implements the workload broadcast. In each tick it sends one line on its last connection. The
// server answers by sending -depth lines to every connection. The next tick begins when every connection
// has received its lines. A message is one delivered line. The latency of a connection is the time from
// the tick to the last of its lines.
type broadcast struct {
	*generator
	fds      []int
	line     []byte // starts a tick
	received []int64
	due      int64 // bytes that each connection has received at the end of the tick
	waiting  int   // number of connections that have not received them yet
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
	// A server that accepts in a separate goroutine may read the first tick before it has accepted all
	// connections. The client cannot detect when it has.
	time.Sleep(200 * time.Millisecond)
	return b.startTick(b.now())
}

func (b *broadcast) startTick(now int64) error {
	b.due += int64(b.options.depth * b.options.size)
	b.waiting = len(b.fds)
	b.tickedAt = now
	n, _, err := send(b.fds[len(b.fds)-1], b.line)
	if err != nil {
		return fmt.Errorf("tick: %w", err)
	}
	if n < len(b.line) { // nothing else is in flight, so the send buffer is not full
		return fmt.Errorf("tick: sent only %d of %d bytes", n, len(b.line))
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
		err = fmt.Errorf("received more bytes than the lines of the tick")
	}
	if err != nil {
		return fmt.Errorf("connection %d: %w", index, err)
	}
	size := int64(b.options.size)
	for end := size - 1 - before%size; end < int64(n); end += size {
		if b.buffer[end] != '\n' {
			return fmt.Errorf("connection %d: no newline at byte %d", index, before+end)
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
		return b.startTick(now)
	}
	return nil
}

func (b *broadcast) tick() error { return nil }
