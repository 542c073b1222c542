//go:build !unix

package connect_test

import (
	"net"
	"testing"
)

func shrinkBacklog(testing.TB, *net.TCPListener) {}
