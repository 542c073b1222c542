//go:build unix

package listen

import "syscall"

// setNonblocking sets O_NONBLOCK of a descriptor, which another holder may have cleared: a File that (*net.TCPListener).File
// returns does so when os/exec takes its descriptor. Otherwise Accept would block in the kernel, where Close of the listener
// does not end it.
func setNonblocking(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { _ = syscall.SetNonblock(int(fd), true) })
}
