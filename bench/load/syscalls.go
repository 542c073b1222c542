package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are raw system calls, which the Go scheduler does not notice. No other goroutine needs to run,
// and the work of the scheduler would add noise to the measurement.

// receive reads received data, with the flags of recv. If there is none, again is true.
func receive(fd int, p []byte, flags int) (n int, again bool, err error) {
	return result("recv", fd, unix.SYS_RECVFROM, p, flags)
}

// send writes as much of p as the kernel accepts. If the kernel accepts nothing, again is true.
func send(fd int, p []byte) (n int, again bool, err error) {
	return result("send", fd, unix.SYS_SENDTO, p, unix.MSG_NOSIGNAL)
}

func result(name string, fd int, trap uintptr, p []byte, flags int) (n int, again bool, err error) {
	for {
		r, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(r), false, nil
		case unix.EAGAIN:
			return 0, true, nil
		case unix.EINTR:
		default:
			return 0, false, fmt.Errorf("%s: %w", name, errno)
		}
	}
}

// wait waits for events, stores them in g.events and returns their number.
func (g *generator) wait(milliseconds int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(g.epoll), uintptr(unsafe.Pointer(&g.events[0])),
		uintptr(len(g.events)), uintptr(milliseconds), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR: // the Go runtime interrupts a thread that runs for long
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_pwait: %w", errno)
}

// add registers events of fd with this index.
func (g *generator) add(fd int, index int32, events uint32) error {
	return g.control(unix.EPOLL_CTL_ADD, fd, index, events)
}

// modify changes the registered events of fd.
func (g *generator) modify(fd int, index int32, events uint32) error {
	return g.control(unix.EPOLL_CTL_MOD, fd, index, events)
}

func (g *generator) control(op, fd int, index int32, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: index}
	if err := unix.EpollCtl(g.epoll, op, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}
