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

// setByte sets an option of IPv4 multicast, which is a byte on some systems.
func setByte(fd descriptor, level, option int, value byte) error {
	return setBytes(fd, level, option, []byte{value})
}

func setBytes(fd descriptor, level, option int, value []byte) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptString(fd, level, option, string(value)))
}

// sendMessage sends a message to an address, or, if to is nil, to the peer of a connected descriptor.
func sendMessage(fd descriptor, p []byte, to syscall.Sockaddr) error {
	return syscall.Sendto(fd, p, 0, to)
}

// setNonblocking sets O_NONBLOCK, which another holder of the descriptor may have cleared. Otherwise a call could block in
// the kernel, where Close of the conn would wait for it.
func setNonblocking(fd descriptor) { _ = syscall.SetNonblock(fd, true) }

// reuseAddress sets the option that lets several sockets share an address: SO_REUSEADDR on Linux, SO_REUSEPORT on other
// systems.
func reuseAddress(fd descriptor) error {
	if runtime.GOOS == "linux" {
		return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	return setInt(fd, syscall.SOL_SOCKET, portOption(), 1)
}

// reusePort sets the option that distributes the senders among several sockets with one address.
func reusePort(fd descriptor) error {
	if portOption() == 0 {
		return fmt.Errorf("ReusePort: %w", errors.ErrUnsupported)
	}
	if runtime.GOOS == "freebsd" {
		return setInt(fd, syscall.SOL_SOCKET, 0x10000, 1) // SO_REUSEPORT_LB: SO_REUSEPORT does not distribute the senders
	}
	return setInt(fd, syscall.SOL_SOCKET, portOption(), 1)
}

// portOption returns SO_REUSEPORT, which package syscall does not define on some ports of Linux. It returns 0 on systems
// without the option.
func portOption() int {
	switch {
	case runtime.GOOS == "solaris" || runtime.GOOS == "illumos" || runtime.GOOS == "aix":
		return 0
	case runtime.GOOS == "linux" && !strings.HasPrefix(runtime.GOARCH, "mips") && !strings.HasPrefix(runtime.GOARCH, "sparc"):
		return 0xf
	}
	return 0x200
}
