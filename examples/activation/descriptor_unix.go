//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// checkListening returns an error if the descriptor is not a listening socket. net.FileListener accepts any socket.
func checkListening(descriptor int) error {
	accepts, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if accepts == 0 {
		return errors.New("the socket does not accept connections")
	}
	return nil
}

// listener returns a listener for the descriptor.
func listener(descriptor int, name string) (net.Listener, error) {
	file := os.NewFile(uintptr(descriptor), name)
	defer file.Close()
	return net.FileListener(file) // on a copy of the descriptor
}
