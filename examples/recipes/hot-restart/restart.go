//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"evnet"
)

// inherited is set in the environment of a process that was started by startNext.
const inherited = "HOT_RESTART_INHERITED"

// The descriptors of such a process. The first of exec.Cmd.ExtraFiles is 3.
const (
	listenerDescriptor = 3
	readyDescriptor    = 4
)

// inheritOrListen makes the server serve the listener of the process before this one, or a new one if this process is the
// first.
func inheritOrListen(server *evnet.Server, address string) error {
	if os.Getenv(inherited) == "" {
		return server.Listen("tcp", address, nil)
	}
	file := os.NewFile(listenerDescriptor, "listener")
	defer file.Close() // FileListener makes a copy
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	return server.Serve(listener)
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
func startNext(listener net.Listener) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	of, ok := listener.(interface{ File() (*os.File, error) })
	if !ok {
		return errors.New("this process does not listen")
	}
	file, err := of.File()
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
