//go:build unix

package dgram

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

type descriptor = int

func setInt(fd descriptor, level, option, value int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, level, option, value))
}

func getInt(fd descriptor, level, option int) (int, error) {
	value, err := syscall.GetsockoptInt(fd, level, option)
	return value, os.NewSyscallError("getsockopt", err)
}

// setByte is for options of IPv4's multicast, which are bytes on some systems.
func setByte(fd descriptor, level, option int, value byte) error {
	return setBytes(fd, level, option, []byte{value})
}

func setBytes(fd descriptor, level, option int, value []byte) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptString(fd, level, option, string(value)))
}

// sendMessage sends to an address, or, with none, to the peer of a connected descriptor.
func sendMessage(fd descriptor, p []byte, to syscall.Sockaddr) error {
	return syscall.Sendto(fd, p, 0, to)
}

// reuseAddress is what lets several sockets have one address: on Linux it is SO_REUSEADDR.
func reuseAddress(fd descriptor) error {
	if runtime.GOOS == "linux" {
		return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	return setInt(fd, syscall.SOL_SOCKET, portOption(), 1)
}

func reusePort(fd descriptor) error {
	if portOption() == 0 {
		return fmt.Errorf("ReusePort: %w", errors.ErrUnsupported)
	}
	if runtime.GOOS == "freebsd" {
		return setInt(fd, syscall.SOL_SOCKET, 0x10000, 1) // SO_REUSEPORT_LB: the plain one spreads nothing
	}
	return setInt(fd, syscall.SOL_SOCKET, portOption(), 1)
}

// portOption is SO_REUSEPORT, which package syscall lacks on some ports of Linux.
func portOption() int {
	switch {
	case runtime.GOOS == "solaris" || runtime.GOOS == "illumos" || runtime.GOOS == "aix":
		return 0
	case runtime.GOOS == "linux" && !strings.HasPrefix(runtime.GOARCH, "mips") && !strings.HasPrefix(runtime.GOARCH, "sparc"):
		return 0xf
	}
	return 0x200
}
