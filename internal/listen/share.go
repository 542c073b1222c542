//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package listen

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Several listeners at one address: a lock on the directory for listeners that start at the same moment, SO_REUSEPORT for
// listeners that share a port.

// lockTimeout limits how long another program that has locked the directory can delay Listen. Listen holds the lock for a
// fraction of a millisecond.
const lockTimeout = 100 * time.Millisecond

// lockDirectory keeps other processes that use the same lock from binding in dir and from removing socket files
// there. The lock creates no file and ends with its process. If it is not available, Listen continues without it, because
// its other checks remain.
func lockDirectory(dir string) (unlock func()) {
	f, err := os.OpenFile(dir, syscall.O_DIRECTORY, 0)
	if err != nil {
		return func() {}
	}
	fd := int(f.Fd())
	deadline := time.Now().Add(lockTimeout)
	for err = syscall.EINTR; err == syscall.EINTR || err == syscall.EWOULDBLOCK && time.Now().Before(deadline); {
		if err == syscall.EWOULDBLOCK {
			time.Sleep(time.Millisecond)
		}
		err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	return func() {
		if err == nil {
			_ = syscall.Flock(fd, syscall.LOCK_UN) // a process that is being forked holds the lock too
		}
		_ = f.Close()
	}
}

// reusePort is the Control function of a listener that shares its port.
func reusePort(_, _ string, raw syscall.RawConn) error {
	var err error
	failed := raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePortOption(), 1))
	})
	if failed != nil {
		return failed
	}
	return err
}

// reusePortOption returns SO_REUSEPORT, which package syscall lacks on some architectures of Linux.
func reusePortOption() int {
	switch {
	case runtime.GOOS == "freebsd":
		return 0x10000 // SO_REUSEPORT_LB: SO_REUSEPORT does not spread connections
	case runtime.GOOS == "linux" && !strings.HasPrefix(runtime.GOARCH, "mips") && !strings.HasPrefix(runtime.GOARCH, "sparc"):
		return 0xf
	}
	return 0x200
}
