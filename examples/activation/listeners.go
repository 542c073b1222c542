package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

const firstDescriptor = 3

// passed is a listener that somebody has passed on.
type passed struct {
	net.Listener
	name string
}

// passedOn are the listeners that the environment tells of, none if it tells of none for this process.
func passedOn() ([]passed, error) {
	count, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	if count == "" || pid == "" {
		return nil, nil
	}
	if p, err := strconv.Atoi(pid); err != nil || p < 1 {
		return nil, fmt.Errorf("LISTEN_PID is %q, and should be the number of a process", pid)
	} else if p != os.Getpid() { // they are somebody else's
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return nil, fmt.Errorf("LISTEN_FDS is %q, and should be the number of listeners", count)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	name := func(i int) string {
		if i < len(names) && names[i] != "" {
			return names[i]
		}
		return "unknown" // as systemd calls it
	}
	for i := range n { // all of them first: a listener that is taken may get the number of one that was announced and is not there
		if err := accepting(firstDescriptor + i); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS is %d, but descriptor %d (%s) is no listener: %w", n, firstDescriptor+i, name(i), err)
		}
	}
	var listeners []passed
	for i := range n {
		ln, err := listener(firstDescriptor+i, name(i))
		if err != nil {
			return nil, fmt.Errorf("descriptor %d (%s): %w", firstDescriptor+i, name(i), err)
		}
		listeners = append(listeners, passed{ln, name(i)})
	}
	return listeners, nil
}
