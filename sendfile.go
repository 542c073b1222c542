package evnet

import (
	"io"
	"os"
	"reflect"
	"syscall"
)

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

// sendFile sends the next piece of the file from kernel to kernel. It reports false where that cannot
// be, now (other bytes are before it) or ever: then the piece is to be read and written. Nothing sent
// and no error is the end of the file. While there is no room it waits, until by has passed, which may be
// nil.
func (s *Socket) sendFile(f *fileSource, epoch int32, by *deadline) (n int, ok bool) {
	for {
		s.mu.Lock()
		t, kernel := s.tr.(*pollTransport)
		size := f.next()
		if !kernel || s.epoch != epoch || s.out.ending || !s.open() || s.out.queued > 0 || size == 0 || by.isPast() {
			s.mu.Unlock()
			return 0, false
		}
		var ended bool
		var err error
		if t.mayWrite() {
			c := t.caller()
			n, ended, err = c.SendFile(t.raw, f.raw, size)
			t.done(c)
		}
		switch {
		case n > 0:
			s.out.accepted += int64(n)
			s.out.sent += int64(n)
			spliced.Add(int64(n))
			s.out.completed(s)
			if f.limit != nil {
				f.limit.N -= int64(n)
			}
			s.mu.Unlock()
			return n, true
		case ended:
			s.mu.Unlock()
			return 0, true
		case err != nil: // of the file, of the socket, or of both together: the other way tells
			s.mu.Unlock()
			return 0, false
		}
		if !t.writing {
			s.startWriting()
		}
		if s.tr != transport(t) { // goroutines have taken over, which do not tell of room alone
			s.mu.Unlock()
			return 0, false
		}
		room := s.roomLocked()
		s.mu.Unlock()
		<-room
	}
}
