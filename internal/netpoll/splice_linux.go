package netpoll

import (
	"os"
	"syscall"
	"unsafe"
)

const (
	spliceFlags = 1 | 2    // SPLICE_F_MOVE, SPLICE_F_NONBLOCK
	pipeSize    = 64 << 10 // requested; a smaller pipe works too
	setPipeSize = 1031     // F_SETPIPE_SZ
)

// SplicePipe is a pipe that moves bytes from one socket to another without copying them into the process. One goroutine at
// a time may use it.
type SplicePipe struct {
	r, w int
	n    int
}

// NewSplicePipe returns an empty pipe.
func NewSplicePipe() (*SplicePipe, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, pipeSize)
	return &SplicePipe{r: fds[0], w: fds[1]}, nil
}

// Len returns the number of bytes in the pipe.
func (p *SplicePipe) Len() int { return p.n }

// Close closes the pipe and discards its bytes.
func (p *SplicePipe) Close() {
	_ = syscall.Close(p.r)
	_ = syscall.Close(p.w)
}

// ReadAll empties the pipe and returns its bytes.
func (p *SplicePipe) ReadAll() []byte {
	buf := make([]byte, p.n)
	for n := 0; n < len(buf); {
		k, err := syscall.Read(p.r, buf[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || k <= 0 { // impossible while p.n is right
			buf = buf[:n]
			break
		}
		n += k
	}
	p.n = 0
	return buf
}

// errBlocking is the error of splice and sendfile for a socket without O_NONBLOCK. They have no flag that replaces it.
const errBlocking = syscall.EINVAL

// isBlocking reports whether another holder of the descriptor has cleared O_NONBLOCK.
func isBlocking(fd uintptr) bool {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
	return errno == 0 && flags&syscall.O_NONBLOCK == 0
}

// Fill moves readable bytes of the socket into an empty pipe. It moves none at the end of the stream and before urgent data.
// For a socket without O_NONBLOCK it returns EINVAL, as for one that does not support splice.
func (c *Call) Fill(raw syscall.RawConn, p *SplicePipe) (n int, err error) {
	c.pipe = p
	n, err = c.do(raw, fill)
	c.pipe = nil
	p.n += n
	return n, err
}

func fill(c *Call, fd uintptr) { c.splice(fd, fd, uintptr(c.pipe.w), pipeSize) }

// Drain moves bytes of the pipe to the socket, as far as it accepts them. For a socket without O_NONBLOCK it returns
// EINVAL.
func (c *Call) Drain(raw syscall.RawConn, p *SplicePipe) (n int, err error) {
	c.pipe = p
	n, err = c.do(raw, drain)
	c.pipe = nil
	p.n -= n
	return n, err
}

func drain(c *Call, fd uintptr) { c.splice(fd, uintptr(c.pipe.r), fd, c.pipe.n) }

// splice moves n bytes from one descriptor to another. One of them is the socket.
func (c *Call) splice(socket, from, to uintptr, n int) {
	if isBlocking(socket) {
		c.errno = errBlocking
		return
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, from, 0, to, 0, uintptr(n), spliceFlags)
		if !c.result(n, errno) {
			return
		}
	}
}

// SendFile moves up to n bytes of a file, from its offset, to the socket. At the end of the file it moves none and ended is
// true. For a socket without O_NONBLOCK it returns EINVAL. It may wait for the disk, which it announces to Go's scheduler.
func (c *Call) SendFile(raw syscall.RawConn, file syscall.RawConn, n int) (sent int, ended bool, err error) {
	c.limit = n
	if ferr := file.Control(func(fd uintptr) {
		c.file = fd
		sent, err = c.do(raw, sendFile)
	}); ferr != nil {
		return 0, false, ferr
	}
	return sent, sent == 0 && err == nil && c.errno == 0, err
}

func sendFile(c *Call, fd uintptr) {
	if isBlocking(fd) {
		c.errno = errBlocking
		return
	}
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_SENDFILE, fd, c.file, uintptr(unsafe.Pointer(nil)), uintptr(c.limit), 0, 0)
		if !c.result(n, errno) {
			return
		}
	}
}
