package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

const firstDescriptor = 3

// passedListener is a listener that the parent process passed to this one.
type passedListener struct {
	net.Listener
	name string
}

// passedListeners returns the listeners that the environment describes. It returns none if they are for another process.
func passedListeners() ([]passedListener, error) {
	count, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	if count == "" || pid == "" {
		return nil, nil
	}
	if p, err := strconv.Atoi(pid); err != nil || p < 1 {
		return nil, fmt.Errorf("LISTEN_PID: invalid process ID %q", pid)
	} else if p != os.Getpid() { // for another process
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return nil, fmt.Errorf("LISTEN_FDS: invalid number of listeners %q", count)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	name := func(i int) string {
		if i < len(names) && names[i] != "" {
			return names[i]
		}
		return "unknown" // as in systemd
	}
	for i := range n { // check all first: the copy made below may get the number of a descriptor that was announced but is missing
		if err := checkListening(firstDescriptor + i); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d: descriptor %d (%s) is not a listener: %w", n, firstDescriptor+i, name(i), err)
		}
	}
	var listeners []passedListener
	for i := range n {
		ln, err := listener(firstDescriptor+i, name(i))
		if err != nil {
			return nil, fmt.Errorf("descriptor %d (%s): %w", firstDescriptor+i, name(i), err)
		}
		listeners = append(listeners, passedListener{ln, name(i)})
	}
	return listeners, nil
}
