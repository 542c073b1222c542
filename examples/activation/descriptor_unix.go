//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// accepting tells why a descriptor is no listener, if it is none. net.FileListener takes any socket for one.
func accepting(descriptor int) error {
	accepts, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if accepts == 0 {
		return errors.New("this socket accepts no connections")
	}
	return nil
}

// listener is the one that a descriptor is.
func listener(descriptor int, name string) (net.Listener, error) {
	file := os.NewFile(uintptr(descriptor), name)
	defer file.Close()
	return net.FileListener(file) // on a copy of the descriptor
}
