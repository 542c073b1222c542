package kit

import (
	"net"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// ServeTLS makes a server on l that speaks TLS.
func ServeTLS(t testing.TB, l *evnet.Loop, opts evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	t.Helper()
	if opts.TLSConfig == nil {
		opts.TLSConfig = evtest.ServerConfig()
	}
	return Serve(t, l, &opts, onConnection)
}

// ClientTLS makes a socket on l that speaks TLS once it is connected.
func ClientTLS(l *evnet.Loop, change ...func(*evnet.SocketOptions)) *evnet.Socket {
	opts := evnet.SocketOptions{Loop: l, TLSConfig: evtest.ClientConfig(), Resolver: evtest.IPs("127.0.0.1")}
	for _, c := range change {
		c(&opts)
	}
	return evnet.NewSocket(&opts)
}

// MeetTLS makes one connection, as Meet does. The server closes with it, also if the handshake fails.
func MeetTLS(t testing.TB, l *evnet.Loop, opts evnet.ServerOptions, accepted, connecting func(*evnet.Socket)) *evnet.Socket {
	t.Helper()
	server, addr := ServeTLS(t, l, opts, accepted)
	c := ClientTLS(l)
	if connecting != nil {
		connecting(c)
	}
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	return c
}

// StalledHandshake runs a server with one connection whose handshake stalls. play runs on the loop once the server
// has the connection. StalledHandshake returns the errors that TLSClientError reported.
func StalledHandshake(t *testing.T, opts evnet.ServerOptions, play func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket)) (reported []error) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	var server *evnet.Server
	server, addr := ServeTLS(t, l, opts, func(*evnet.Socket) { t.Error("connection") })
	server.On.TLSClientError(func(err error, _ *evnet.Socket) {
		reported = append(reported, err)
		_ = server.Close(nil) // play may have missed it
	})
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	var wait func()
	wait = func() {
		if open := server.Sockets(); len(open) == 1 {
			play(l, server, open[0])
		} else if server.Listening() {
			l.AfterFunc(time.Millisecond, wait)
		}
	}
	wait()
	Run(t, l)
	return reported
}
