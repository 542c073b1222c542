package netpoll

import (
	"os"
	"syscall"
	"unsafe"
)

const (
	spliceFlags = 1 | 2    // SPLICE_F_MOVE, SPLICE_F_NONBLOCK
	tubeSize    = 64 << 10 // asked for; a tube of less works too
	setPipeSize = 1031     // F_SETPIPE_SZ
)

// Tube is a pipe of the kernel, through which bytes go from one socket to another without being copied
// into the process. It is used by one goroutine at a time.
type Tube struct {
	r, w int
	held int
}

// NewTube makes an empty one.
func NewTube() (*Tube, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, tubeSize)
	return &Tube{r: fds[0], w: fds[1]}, nil
}

// Held is how many bytes are in it.
func (t *Tube) Held() int { return t.held }

// Close throws away what is in it.
func (t *Tube) Close() {
	_ = syscall.Close(t.r)
	_ = syscall.Close(t.w)
}

// Pour takes out what is in it.
func (t *Tube) Pour() []byte {
	p := make([]byte, t.held)
	for n := 0; n < len(p); {
		k, err := syscall.Read(t.r, p[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || k <= 0 { // not while held is right
			p = p[:n]
			break
		}
		n += k
	}
	t.held = 0
	return p
}

// Fill moves what there is to read into an empty tube: nothing at the end, and before an urgent byte.
func (c *Call) Fill(raw syscall.RawConn, t *Tube) (n int, err error) {
	c.tube = t
	n, err = c.do(raw, fill)
	c.tube = nil
	t.held += n
	return n, err
}

func fill(c *Call, fd uintptr) { c.splice(fd, uintptr(c.tube.w), tubeSize) }

// Drain moves what fits out of the tube.
func (c *Call) Drain(raw syscall.RawConn, t *Tube) (n int, err error) {
	c.tube = t
	n, err = c.do(raw, drain)
	c.tube = nil
	t.held -= n
	return n, err
}

func drain(c *Call, fd uintptr) { c.splice(uintptr(c.tube.r), fd, c.tube.held) }

func (c *Call) splice(from, to uintptr, n int) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, from, 0, to, 0, uintptr(n), spliceFlags)
		if !c.took(n, errno) {
			return
		}
	}
}

// SendFile moves up to n bytes of a file, from where it stands, to the socket. It may wait for the
// disk, and tells Go's scheduler. At the end of the file it moves nothing and ended is true.
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
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_SENDFILE, fd, c.file, uintptr(unsafe.Pointer(nil)), uintptr(c.limit), 0, 0)
		if !c.took(n, errno) {
			return
		}
	}
}
