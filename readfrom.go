package evnet

import (
	"io"
	"os"
	"reflect"
	"syscall"
)

// ReadFrom writes the data of r until its end, at the pace of the peer: it blocks the calling
// goroutine while NeedDrain is true. It implements io.ReaderFrom, so io.Copy uses it. On Linux a
// regular file is sent to a kernel socket without being copied into the process.
//
// ReadFrom returns the number of bytes written and the first error of r or of Write, or the cause if
// the socket closes meanwhile. In a callback it returns ErrOnLoop immediately, since waiting would
// block the loop that it waits for: use Pipe there.
//
// Node: stream.pipeline into a socket.
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
		if err := s.writeChunk(buf[:got], epoch); err != nil {
			return n, err
		}
		n += int64(got)
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
		for room := s.roomSignal(epoch); room != nil; room = s.roomSignal(epoch) {
			<-room
		}
	}
}

// writeChunk writes p to the connection of that epoch, and to no later one.
func (s *Socket) writeChunk(p []byte, epoch int32) error {
	s.mu.Lock()
	switch {
	case s.epoch != epoch:
		s.mu.Unlock()
		return ErrDestroyed
	case s.out.dropped || s.out.failed:
		defer s.mu.Unlock()
		return s.dropErrorLocked()
	case len(p) == 0:
		s.mu.Unlock()
		return nil
	}
	_, e, err := s.writeLocked(p, nil, true)
	s.mu.Unlock()
	e.run()
	return err
}

// roomSignal returns nil if writing may continue, otherwise a channel that is closed when that may have changed.
func (s *Socket) roomSignal(epoch int32) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || !s.needsDrainLocked() {
		return nil
	}
	return s.roomLocked()
}

// roomLocked returns a channel that is closed when there may be room. s.mu is held.
func (s *Socket) roomLocked() <-chan struct{} {
	if s.out.room == nil {
		s.out.own()
		s.out.room = make(chan struct{})
	}
	return s.out.room
}

// roomChangedLocked wakes the goroutines that wait for room, to check again. s.mu is held.
func (s *Socket) roomChangedLocked() {
	if s.out.room != nil {
		close(s.out.room)
		s.out.room = nil
		s.settleLocked()
	}
}

// maxSendFile is the maximum number of bytes of a file that one system call sends. The socket's lock is held meanwhile.
const maxSendFile = 128 << 10

// fileSource is the unsent rest of a regular file, up to a limit if there is one, for ReadFrom.
type fileSource struct {
	raw   syscall.RawConn
	limit *io.LimitedReader // nil if the file is sent to its end
}

// asFile returns nil if r is not a regular file. A type of package os is accepted too, since io.Copy passes one to hide
// a method of the file. A type of another package that embeds a file is not: it may have a Read of its own.
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
	info, err := file.Stat() // an error if file is nil
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	return &fileSource{raw, limit}
}

// nextSize returns how many bytes the next system call may send.
func (f *fileSource) nextSize() int {
	if f.limit == nil {
		return maxSendFile
	}
	return int(max(min(f.limit.N, maxSendFile), 0))
}

// sendFile sends the next piece of the file within the kernel. While there is no room, it waits until the deadline d,
// which may be nil, has passed.
//
// ok is false if that is impossible, either now, because other bytes are queued, or at all: the caller then reads and
// writes the piece. If ok is true and n is 0, the file has ended.
func (s *Socket) sendFile(f *fileSource, epoch int32, d *deadline) (n int, ok bool) {
	for {
		n, ok, room := s.trySendFile(f, epoch, d)
		if room == nil {
			return n, ok
		}
		<-room
	}
}

// trySendFile is sendFile without waiting. If there is no room, it returns a channel that is closed when there may be.
func (s *Socket) trySendFile(f *fileSource, epoch int32, d *deadline) (n int, ok bool, room <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := f.nextSize()
	if s.epoch != epoch || s.out.ending || s.out.failed || !s.maySendNowLocked() || size == 0 || d.isExpired() {
		return 0, false, nil
	}
	n, ended, ok, err := s.stream.SendFile(f.raw, size)
	switch {
	case n > 0:
		s.noteCompletedLocked()
		s.markActiveLocked()
		if f.limit != nil {
			f.limit.N -= int64(n)
		}
		return n, true, nil
	case ended:
		return 0, true, nil
	case err != nil || !ok: // an error of the file, of the socket, or of the combination: reading and writing reports it
		return 0, false, nil
	case !s.stream.AwaitRoom(): // the goroutine driver does not report room alone
		return 0, false, nil
	}
	s.watchWritesLocked()
	return 0, false, s.roomLocked()
}
