//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package listen

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// What servers that start at one address at once need.

// lockPatience bounds how long a stranger who has locked the directory can hold Listen up. A server
// holds the lock for a fraction of a millisecond.
const lockPatience = 100 * time.Millisecond

// lockDirectory keeps other processes from binding in dir, or removing what is bound there, as far as
// they ask for this lock too. It leaves no file behind, and ends with its process. Where it cannot
// be had, a server is careful alone.
func lockDirectory(dir string) (unlock func()) {
	f, err := os.OpenFile(dir, syscall.O_DIRECTORY, 0)
	if err != nil {
		return func() {}
	}
	fd := int(f.Fd())
	deadline := time.Now().Add(lockPatience)
	for err = syscall.EINTR; err == syscall.EINTR || err == syscall.EWOULDBLOCK && time.Now().Before(deadline); {
		if err == syscall.EWOULDBLOCK {
			time.Sleep(time.Millisecond)
		}
		err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	return func() {
		if err == nil {
			_ = syscall.Flock(fd, syscall.LOCK_UN) // a process that is just being forked has the lock too
		}
		_ = f.Close()
	}
}

// reusePort is the Control of a listener that shares its port.
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

// reusePortOption is SO_REUSEPORT, which package syscall lacks on some ports of Linux.
func reusePortOption() int {
	switch {
	case runtime.GOOS == "freebsd":
		return 0x10000 // SO_REUSEPORT_LB: the plain one spreads nothing
	case runtime.GOOS == "linux" && !strings.HasPrefix(runtime.GOARCH, "mips") && !strings.HasPrefix(runtime.GOARCH, "sparc"):
		return 0xf
	}
	return 0x200
}
