//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// inherited is set in the environment of a process that was started by startNext.
const inherited = "HOT_RESTART_INHERITED"

// The descriptors of such a process. The first of exec.Cmd.ExtraFiles is 3.
const (
	listenerDescriptor = 3
	readyDescriptor    = 4
)

// inheritOrListen returns the listener of the process before this one, or a new one if this process is the first.
func inheritOrListen(address string) (*net.TCPListener, error) {
	if os.Getenv(inherited) == "" {
		to, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return nil, err
		}
		return net.ListenTCP("tcp", to)
	}
	file := os.NewFile(listenerDescriptor, "listener")
	defer file.Close() // FileListener makes a copy
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is not a TCP listener", listenerDescriptor)
	}
	return tcp, nil
}

// reportReady lets startNext in the process before this one return.
func reportReady() {
	if os.Getenv(inherited) != "" {
		ready := os.NewFile(readyDescriptor, "ready")
		_, _ = ready.WriteString("1")
		_ = ready.Close()
		_ = os.Unsetenv(inherited) // it does not apply to other programs that this process starts
	}
}

// startNext starts this program again, with the listener, and returns once the new process is ready.
func startNext(listener *net.TCPListener) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := duplicate(listener)
	if err != nil {
		return err
	}
	defer file.Close()
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	next := exec.Command(program, os.Args[1:]...)
	next.Stdin, next.Stdout, next.Stderr = os.Stdin, os.Stdout, os.Stderr
	next.Env = append(os.Environ(), inherited+"=1")
	next.ExtraFiles = []*os.File{file, report}
	err = next.Start()
	_ = report.Close() // only the new process has it now, so Read returns if that process exits
	if err != nil {
		return err
	}
	go func() { _ = next.Wait() }()
	_ = ready.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		_ = next.Process.Kill()
		return fmt.Errorf("the new process does not become ready: %w", err)
	}
	return nil
}

// duplicate returns a copy of the listener's descriptor. The listener's method File is not suited: os/exec would make its
// descriptor blocking, and with it the listener of both processes.
func duplicate(listener *net.TCPListener) (file *os.File, err error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock() // no program starts between the two calls
		defer syscall.ForkLock.RUnlock()
		copied, err := syscall.Dup(int(fd))
		if err != nil {
			failed = os.NewSyscallError("dup", err)
			return
		}
		syscall.CloseOnExec(copied)
		file = os.NewFile(uintptr(copied), "listener")
	})
	return file, errors.Join(err, failed)
}
