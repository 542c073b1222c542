package evnet

import (
	"io"
	"os"
	"reflect"
	"syscall"

	"evnet/internal/transport"
)

// ReadFrom writes what r gives until its end, at the pace of the peer: it blocks the calling
// goroutine while NeedDrain is true. It returns the bytes written and the first error of r, of
// Write, or the cause when the socket closes meanwhile. In a callback, where waiting would stop the
// loop that it waits for, it returns ErrOnLoop at once: use Pipe there. It implements io.ReaderFrom,
// so that io.Copy uses it. On Linux a regular file is sent to a kernel socket without being copied
// into the process. Node: stream.pipeline into a socket.
func (s *Socket) ReadFrom(r io.Reader) (n int64, err error) {
	if r == nil {
		return 0, nilArgument("ReadFrom", "reader")
	}
	if s.loop().OnLoop() {
		return 0, ErrOnLoop
	}
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	file := asFile(r)
	buf := make([]byte, maxChunk)
	for {
		if file != nil {
			sent, ok := s.sendFile(file, epoch, nil)
			if ok && sent == 0 {
				return n, nil
			}
			if n += int64(sent); ok {
				continue
			}
		}
		got, rerr := r.Read(buf)
		if err := s.writeRead(buf[:got], epoch); err != nil {
			return n, err
		}
		n += int64(got)
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
		for room := s.noRoom(epoch); room != nil; room = s.noRoom(epoch) {
			<-room
		}
	}
}

// writeRead writes what was read to the connection of that epoch, and to no later one.
func (s *Socket) writeRead(p []byte, epoch int32) error {
	s.mu.Lock()
	switch {
	case s.epoch != epoch:
		s.mu.Unlock()
		return ErrDestroyed
	case s.out.dropped:
		defer s.mu.Unlock()
		return s.dropError()
	case len(p) == 0:
		s.mu.Unlock()
		return nil
	}
	_, e, err := s.writeLocked(p, nil, true)
	s.mu.Unlock()
	e.run()
	return err
}

// noRoom returns nil when writing may go on, else what will be closed when that may have changed.
func (s *Socket) noRoom(epoch int32) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || !s.needsDrain() {
		return nil
	}
	return s.roomLocked()
}

// roomLocked returns what will be closed when there may be room. s.mu is held.
func (s *Socket) roomLocked() <-chan struct{} {
	if s.out.room == nil {
		s.out.own()
		s.out.room = make(chan struct{})
	}
	return s.out.room
}

// wakeReadFrom is called when the queue has drained, and at the end of writing.
func (s *Socket) wakeReadFrom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomChanged()
}

// roomChanged lets those look again that wait for room. s.mu is held.
func (s *Socket) roomChanged() {
	if s.out.room != nil {
		close(s.out.room)
		s.out.room = nil
		s.settle()
	}
}

// maxSendFile is how much of a file leaves in one system call, which the socket's lock waits for.
const maxSendFile = 128 << 10

// fileSource is a file, or the beginning of what is left of one, that ReadFrom was given.
type fileSource struct {
	raw   syscall.RawConn
	limit *io.LimitedReader // nil: to its end
}

// asFile returns nil when r is not a regular file. io.Copy hides a method of a file behind a type of
// package os; a type of another package that embeds a file may have a Read of its own.
func asFile(r io.Reader) *fileSource {
	limit, _ := r.(*io.LimitedReader)
	if limit != nil {
		r = limit.R
	}
	file, ok := r.(interface {
		Stat() (os.FileInfo, error)
		SyscallConn() (syscall.RawConn, error)
	})
	if of := reflect.TypeOf(r); !ok || of != reflect.TypeFor[*os.File]() && of.PkgPath() != "os" {
		return nil
	}
	info, err := file.Stat() // of a nil file, an error
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	return &fileSource{raw, limit}
}

// next is how much may be sent at once.
func (f *fileSource) next() int {
	if f.limit == nil {
		return maxSendFile
	}
	return int(max(min(f.limit.N, maxSendFile), 0))
}

// sendFile sends the next piece of the file from kernel to kernel. It reports false if that is impossible, now (other
// bytes are before it) or ever: then the piece is to be read and written. Nothing sent and no error is the end of the
// file. While there is no room it waits, until by has passed, which may be nil.
func (s *Socket) sendFile(f *fileSource, epoch int32, by *deadline) (n int, ok bool) {
	for {
		n, ok, room := s.trySendFile(f, epoch, by)
		if room == nil {
			return n, ok
		}
		<-room
	}
}

// trySendFile is sendFile without waiting: it returns what is closed when there is room.
func (s *Socket) trySendFile(f *fileSource, epoch int32, by *deadline) (n int, ok bool, room <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := f.next()
	if s.epoch != epoch || s.out.ending || !s.maySendNow() || size == 0 || by.isPast() {
		return 0, false, nil
	}
	n, ended, ok, err := s.stream.SendFile(f.raw, size)
	switch {
	case n > 0:
		transport.Spliced.Add(int64(n))
		s.noteCompleted()
		s.markActive()
		if f.limit != nil {
			f.limit.N -= int64(n)
		}
		return n, true, nil
	case ended:
		return 0, true, nil
	case err != nil || !ok: // an error of the file, of the socket, or of both together: the other way reports it
		return 0, false, nil
	case !s.stream.AwaitRoom(): // goroutines do not report room alone
		return 0, false, nil
	}
	s.watchWrites()
	return 0, false, s.roomLocked()
}
