//go:build !unix

package main

import (
	"errors"
	"net"
)

func checkListening(int) error { return errors.ErrUnsupported }

func listener(int, string) (net.Listener, error) { return nil, errors.ErrUnsupported }
