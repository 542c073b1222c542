package netpoll

import (
	"syscall"
	"unsafe"

	"evnet/internal/race"
)

// maxSlices is how many slices one Write can write.
const maxSlices = 64

// Call makes system calls on descriptors, under the lock of Go's own descriptor, so that it never uses a closed one. The
// calls do not block, even if another holder of the descriptor has cleared O_NONBLOCK, and are not announced to Go's
// scheduler. A Call holds the arguments of one call, so that a call allocates nothing; one goroutine at a time may use it.
type Call struct {
	run func(fd uintptr) // calls op

	// Arguments and results.
	op    func(*Call, uintptr)
	n     int
	errno syscall.Errno
	p     []byte
	iov   [maxSlices]syscall.Iovec
	iovs  int
	msg   syscall.Msghdr // for several slices
	set   int            // the epoll descriptor
	ctl   int
	event syscall.EpollEvent
	pipe  *SplicePipe
	file  uintptr
	limit int
}

// NewCall returns a Call.
func NewCall() *Call {
	c := &Call{}
	c.run = func(fd uintptr) { c.op(c, fd) }
	return c
}

// do runs op on the descriptor. EAGAIN results in 0 and no error.
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

// result stores the result of a system call and reports whether the call must be repeated.
func (c *Call) result(n uintptr, errno syscall.Errno) (again bool) {
	c.n, c.errno = int(n), errno
	if errno != 0 {
		c.n = 0
	}
	return errno == syscall.EINTR
}

// Read reads available bytes into p, which must not be empty. If there are none, n is 0; ended reports whether that is the
// end of the stream.
func (c *Call) Read(raw syscall.RawConn, p []byte) (n int, ended bool, err error) {
	c.p = p
	n, err = c.do(raw, receive)
	c.p = nil
	race.Wrote(p[:n])
	return n, n == 0 && err == nil && c.errno == 0, err
}

// For the race detector, a write happens before the read that receives its bytes. Only Read and Write of package syscall
// report that. Without a buffer they have no other effect.

func raceRelease() {
	if race.Enabled {
		_, _ = syscall.Write(-1, nil)
	}
}

func raceAcquire(fd uintptr) {
	if race.Enabled {
		_, _ = syscall.Read(int(fd), nil)
	}
}

func receive(c *Call, fd uintptr) {
	for {
		n, _, errno := syscall.RawSyscall6(sysRecvfrom, fd, uintptr(unsafe.Pointer(&c.p[0])), uintptr(len(c.p)),
			syscall.MSG_DONTWAIT, 0, 0)
		if !c.result(n, errno) {
			raceAcquire(fd)
			return
		}
	}
}

// Peek is a Read of one byte that leaves it in the socket.
func (c *Call) Peek(raw syscall.RawConn) (n int, ended bool, err error) {
	n, err = c.do(raw, peek)
	return n, n == 0 && err == nil && c.errno == 0, err
}

func peek(c *Call, fd uintptr) {
	var p [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), p[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		errno, _ := err.(syscall.Errno)
		if !c.result(uintptr(max(n, 0)), errno) {
			return
		}
	}
}

// HasRoom reports whether Add may be called once more before Write.
func (c *Call) HasRoom() bool { return c.iovs < len(c.iov) }

// Add appends p, which must not be empty, to the slices for Write.
func (c *Call) Add(p []byte) {
	c.iov[c.iovs].Base = unsafe.SliceData(p)
	c.iov[c.iovs].SetLen(len(p))
	c.iovs++
	race.Read(p)
}

// Write writes the slices that were added since the last Write, as far as the socket accepts them.
func (c *Call) Write(raw syscall.RawConn) (int, error) {
	op := sendAll
	if c.iovs == 1 {
		op = send
	}
	raceRelease()
	n, err := c.do(raw, op)
	clear(c.iov[:c.iovs])
	c.iovs = 0
	return n, err
}

// sendFlags also prevents SIGPIPE.
const sendFlags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL

func send(c *Call, fd uintptr) {
	for {
		n, _, errno := syscall.RawSyscall6(sysSendto, fd, uintptr(unsafe.Pointer(c.iov[0].Base)), uintptr(c.iov[0].Len),
			sendFlags, 0, 0)
		if !c.result(n, errno) {
			return
		}
	}
}

func sendAll(c *Call, fd uintptr) {
	c.msg.Iov = &c.iov[0]
	setLength(&c.msg.Iovlen, c.iovs)
	for {
		n, _, errno := syscall.RawSyscall(sysSendmsg, fd, uintptr(unsafe.Pointer(&c.msg)), sendFlags)
		if !c.result(n, errno) {
			return
		}
	}
}

// setLength sets a length of a structure of the kernel, whose type depends on the architecture.
func setLength[T uint32 | uint64](length *T, n int) { *length = T(n) }

// Watch registers the descriptor with p or, if it is registered already, changes what it is watched for. Poller.Event
// returns slot with its events.
func (c *Call) Watch(raw syscall.RawConn, p *Poller, registered bool, slot int, what Events) error {
	c.set, c.ctl = p.fd, syscall.EPOLL_CTL_ADD
	if registered {
		c.ctl = syscall.EPOLL_CTL_MOD
	}
	c.event = syscall.EpollEvent{Events: uint32(what), Fd: int32(slot)}
	_, err := c.do(raw, control)
	return err
}

// Unwatch removes the descriptor from p. Closing a descriptor does that only if there is no duplicate of it.
func (c *Call) Unwatch(raw syscall.RawConn, p *Poller) {
	c.set, c.ctl = p.fd, syscall.EPOLL_CTL_DEL
	_, _ = c.do(raw, control)
}

func control(c *Call, fd uintptr) {
	_, _, c.errno = syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(c.set), uintptr(c.ctl), fd,
		uintptr(unsafe.Pointer(&c.event)), 0, 0)
}
