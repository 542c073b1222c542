package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udp implements the workload udp. It keeps -depth datagrams in flight on each of its sockets. A datagram
// without an echo after the time lostAfter is counted as lost and replaced by a new one.
type udp struct {
	*generator
	socks     []*udpSocket
	batch     udpBatch
	nextCheck int64 // time of the next check for lost datagrams
}

type udpSocket struct {
	fd      int
	flights []flight
}

// A flight is a message in flight. A message begins with its number. The number modulo the depth is the
// index of the flight.
type flight struct {
	number uint64
	sentAt int64
}

const (
	udpBatchSize = 64
	numberSize   = 8 // bytes
	lostAfter    = int64(200 * time.Millisecond)
)

// A udpBatch has the messages of one recvmmsg or sendmmsg.
type udpBatch struct {
	headers [udpBatchSize]struct {
		unix.Msghdr
		n uint32
	}
	pieces   [udpBatchSize]unix.Iovec
	messages [udpBatchSize][]byte
	count    int
}

func (u *udp) open() error {
	if u.options.size < numberSize || u.options.size > 1400 {
		return fmt.Errorf("-size %d: a datagram must have from %d to 1400 bytes", u.options.size, numberSize)
	}
	for i := range u.batch.headers {
		b := &u.batch
		b.messages[i] = make([]byte, u.options.size+1) // one byte more, to detect longer messages
		for at := numberSize; at < u.options.size; at++ {
			b.messages[i][at] = byte(at)
		}
		b.pieces[i].Base = &b.messages[i][0]
		b.headers[i].Iov = &b.pieces[i]
		b.headers[i].SetIovlen(1)
	}
	for i := range u.options.conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err := unix.Connect(fd, u.server); err != nil {
			return fmt.Errorf("socket %d: connect: %w", i, err)
		}
		if err := u.add(fd, int32(i), unix.EPOLLIN); err != nil {
			return err
		}
		s := &udpSocket{fd: fd, flights: make([]flight, u.options.depth)}
		u.socks = append(u.socks, s)
		for at := range s.flights {
			s.flights[at].number = uint64(at)
			if err := u.send(s, &s.flights[at]); err != nil {
				return err
			}
		}
		if err := u.flush(s); err != nil {
			return err
		}
	}
	return nil
}

// send adds a message to the batch.
func (u *udp) send(s *udpSocket, f *flight) error {
	b := &u.batch
	if b.count == udpBatchSize {
		if err := u.flush(s); err != nil {
			return err
		}
	}
	f.sentAt = u.now()
	binary.LittleEndian.PutUint64(b.messages[b.count], f.number)
	b.count++
	return nil
}

// flush sends the batch. Datagrams that the kernel does not accept are counted as lost after lostAfter.
func (u *udp) flush(s *udpSocket) error {
	b := &u.batch
	for at := 0; at < b.count; {
		for i := at; i < b.count; i++ {
			b.pieces[i].SetLen(u.options.size)
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers[at])), uintptr(b.count-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			at = b.count
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	b.count = 0
	return nil
}

func (u *udp) event(index int32, _ uint32) error {
	s, b := u.socks[index], &u.batch
	for i := range b.pieces {
		b.pieces[i].SetLen(u.options.size + 1)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers)), udpBatchSize, 0, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return nil
	default:
		return fmt.Errorf("recvmmsg: %w", errno)
	}
	now := u.now()
	var back [udpBatchSize]*flight
	for i := range int(n) {
		f, err := u.match(s, i)
		if err != nil {
			return err
		}
		if f != nil {
			u.arrived(u.options.size, now)
			u.timed(f.sentAt, now)
			f.number += uint64(len(s.flights))
		}
		back[i] = f
	}
	for _, f := range back[:n] { // the batch can be reused now
		if f != nil {
			if err := u.send(s, f); err != nil {
				return err
			}
		}
	}
	return u.flush(s)
}

// match checks the i-th message and returns its flight, or nil if the message was counted as lost.
func (u *udp) match(s *udpSocket, i int) (*flight, error) {
	b := &u.batch
	if int(b.headers[i].n) != u.options.size {
		return nil, fmt.Errorf("received a message of %d bytes, want %d", b.headers[i].n, u.options.size)
	}
	for at, c := range b.messages[i][numberSize:u.options.size] {
		if c != byte(at+numberSize) {
			return nil, errors.New("wrong byte in a message")
		}
	}
	number := binary.LittleEndian.Uint64(b.messages[i])
	f := &s.flights[number%uint64(len(s.flights))]
	if f.number != number {
		return nil, nil
	}
	return f, nil
}

func (u *udp) tick() error {
	now := u.now()
	if now < u.nextCheck {
		return nil
	}
	u.nextCheck = now + lostAfter/10
	for _, s := range u.socks {
		for i := range s.flights {
			f := &s.flights[i]
			if now-f.sentAt < lostAfter {
				continue
			}
			u.lost++
			f.number += uint64(len(s.flights))
			if err := u.send(s, f); err != nil {
				return err
			}
		}
		if err := u.flush(s); err != nil {
			return err
		}
	}
	return nil
}
