//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// listener is the one that a descriptor is. The descriptor is closed if it is one, and else left alone: it may belong
// to the Go runtime, which opens some of its own.
func listener(descriptor int, name string) (net.Listener, error) {
	accepts, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if accepts == 0 { // net.FileListener takes it for one
		return nil, errors.New("this socket accepts no connections")
	}
	file := os.NewFile(uintptr(descriptor), name)
	defer file.Close()
	return net.FileListener(file) // on a copy of the descriptor
}
