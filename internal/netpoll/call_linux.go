package netpoll

import (
	"syscall"
	"unsafe"

	"evnet/internal/race"
)

// maxPieces is how many pieces of memory one Write takes.
const maxPieces = 64

// Call makes system calls on descriptors, under the lock that Go's own descriptor holds, so that one
// that was closed is never touched. None blocks, so none is announced to Go's scheduler. A Call is
// used by one goroutine at a time.
type Call struct {
	run func(fd uintptr) // bound once

	// Arguments and results.
	op    func(*Call, uintptr)
	n     int
	errno syscall.Errno
	p     []byte
	iov   [maxPieces]syscall.Iovec
	iovs  int
	set   int // the epoll descriptor
	ctl   int
	event syscall.EpollEvent
	tube  *Tube
	file  uintptr
	limit int
}

// NewCall makes one.
func NewCall() *Call {
	c := &Call{}
	c.run = func(fd uintptr) { c.op(c, fd) }
	return c
}

// do runs op on the descriptor. EAGAIN is 0 and no error.
func (c *Call) do(raw syscall.RawConn, op func(*Call, uintptr)) (int, error) {
	c.op, c.n, c.errno = op, 0, 0
	if err := raw.Control(c.run); err != nil {
		return 0, err
	}
	if c.errno != 0 && c.errno != syscall.EAGAIN {
		return 0, c.errno
	}
	return c.n, nil
}

// took notes what a system call has returned, and reports whether it has to be made again.
func (c *Call) took(n uintptr, errno syscall.Errno) (again bool) {
	c.n, c.errno = int(n), errno
	if errno != 0 {
		c.n = 0
	}
	return errno == syscall.EINTR
}

// Read reads what is there into p, which must not be empty. ended tells the end from there being
// nothing.
func (c *Call) Read(raw syscall.RawConn, p []byte) (n int, ended bool, err error) {
	c.p = p
	n, err = c.do(raw, read)
	c.p = nil
	race.Wrote(p[:n])
	return n, n == 0 && err == nil && c.errno == 0, err
}

// The race detector takes bytes for an order of events: what happened before they were written has
// happened before what follows when they are read. Package syscall tells it so, and only its own Read
// and Write do: of nothing, they do nothing else.

func sends() {
	if race.Enabled {
		_, _ = syscall.Write(-1, nil)
	}
}

func gets(fd uintptr) {
	if race.Enabled {
		_, _ = syscall.Read(int(fd), nil)
	}
}

func read(c *Call, fd uintptr) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&c.p[0])), uintptr(len(c.p)))
		if !c.took(n, errno) {
			gets(fd)
			return
		}
	}
}

// Peek is Read that takes nothing away.
func (c *Call) Peek(raw syscall.RawConn) (n int, ended bool, err error) {
	n, err = c.do(raw, peek)
	return n, n == 0 && err == nil && c.errno == 0, err
}

func peek(c *Call, fd uintptr) {
	var p [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), p[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		errno, _ := err.(syscall.Errno)
		if !c.took(uintptr(max(n, 0)), errno) {
			return
		}
	}
}

// Room reports whether Add may be called once more before Write.
func (c *Call) Room() bool { return c.iovs < len(c.iov) }

// Add makes p, which must not be empty, the next of the pieces that Write writes.
func (c *Call) Add(p []byte) {
	c.iov[c.iovs].Base = unsafe.SliceData(p)
	c.iov[c.iovs].SetLen(len(p))
	c.iovs++
	race.Read(p)
}

// Write writes what fits of the pieces added since the last.
func (c *Call) Write(raw syscall.RawConn) (int, error) {
	op := writev
	if c.iovs == 1 {
		op = write
	}
	sends()
	n, err := c.do(raw, op)
	clear(c.iov[:c.iovs])
	c.iovs = 0
	return n, err
}

func write(c *Call, fd uintptr) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(c.iov[0].Base)), uintptr(c.iov[0].Len))
		if !c.took(n, errno) {
			return
		}
	}
}

func writev(c *Call, fd uintptr) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&c.iov)), uintptr(c.iovs))
		if !c.took(n, errno) {
			return
		}
	}
}

// Watch puts the descriptor into the set, or, if it is there already, changes what it is watched for.
// slot comes back with its events.
func (c *Call) Watch(raw syscall.RawConn, p *Poller, there bool, slot int, what Events) error {
	c.set, c.ctl = p.fd, syscall.EPOLL_CTL_ADD
	if there {
		c.ctl = syscall.EPOLL_CTL_MOD
	}
	c.event = syscall.EpollEvent{Events: uint32(what), Fd: int32(slot)}
	_, err := c.do(raw, control)
	return err
}

// Forget takes the descriptor out of the set, which closing it does only when nobody else holds it.
func (c *Call) Forget(raw syscall.RawConn, p *Poller) {
	c.set, c.ctl = p.fd, syscall.EPOLL_CTL_DEL
	_, _ = c.do(raw, control)
}

func control(c *Call, fd uintptr) {
	_, _, c.errno = syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(c.set), uintptr(c.ctl), fd,
		uintptr(unsafe.Pointer(&c.event)), 0, 0)
}
