//go:build !unix

package main

import (
	"errors"
	"net"
)

func listener(int, string) (net.Listener, error) { return nil, errors.ErrUnsupported }
