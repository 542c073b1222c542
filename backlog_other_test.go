//go:build !unix

package evnet_test

import (
	"net"
	"testing"
)

func shrinkBacklog(testing.TB, *net.TCPListener) {}
