package dgram

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

type descriptor = syscall.Handle

func setInt(fd descriptor, level, option, value int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, level, option, value))
}

func getInt(fd descriptor, level, option int) (int, error) {
	value, err := syscall.GetsockoptInt(fd, level, option)
	return value, os.NewSyscallError("getsockopt", err)
}

// setByte sets an int, because Windows has no options that are bytes.
func setByte(fd descriptor, level, option int, value byte) error {
	return setInt(fd, level, option, int(value))
}

func setBytes(fd descriptor, level, option int, value []byte) error {
	err := syscall.Setsockopt(fd, int32(level), int32(option), unsafe.SliceData(value), int32(len(value)))
	return os.NewSyscallError("setsockopt", err)
}

// sendMessage sends a message to an address, or, if to is nil, to the peer of a connected descriptor.
func sendMessage(fd descriptor, p []byte, to syscall.Sockaddr) error {
	var sent uint32
	return syscall.WSASendto(fd, &syscall.WSABuf{Len: uint32(len(p)), Buf: unsafe.SliceData(p)}, 1, &sent, 0, to, nil, nil)
}

// setNonblocking does nothing: a call does not block a thread.
func setNonblocking(descriptor) {}

func reuseAddress(fd descriptor) error {
	return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
}

func reusePort(descriptor) error { return fmt.Errorf("ReusePort: %w", errors.ErrUnsupported) }
