package kit

import (
	"net"
	"sync"
	"testing"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

func BlockingConn(t testing.TB, s *evnet.Socket) net.Conn {
	t.Helper()
	c, err := s.BlockingConn()
	require.NoError(t, err)
	return c
}

// BlockingPair returns the blocking views of two sockets, on loops that run until wait.
func BlockingPair(t testing.TB, kind string, loops ...*evnet.Loop) (a, b net.Conn, wait func()) {
	t.Helper()
	here, there := evtest.ConnKinds[kind](t)
	var views []net.Conn
	for i, conn := range []net.Conn{here, there} {
		s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: loops[i%len(loops)]})
		views = append(views, BlockingConn(t, s))
	}
	return views[0], views[1], RunInBackground(t, loops...)
}

// RunInBackground runs the loops on goroutines; wait waits until all of them have returned.
func RunInBackground(t testing.TB, loops ...*evnet.Loop) (wait func()) {
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() { Run(t, l) })
	}
	return running.Wait
}
