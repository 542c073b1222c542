package evnet

import (
	"net"
	"os"
	"syscall"
	"testing"

	"evnet/internal/transport"

	"github.com/stretchr/testify/assert"
)

// arrives gives the socket a report of its stream. It runs on the loop.
func arrives(s *Socket, r transport.Report) {
	s.mu.Lock()
	a := s.arrivedLocked(&r)
	s.mu.Unlock()
	s.deliverArrival(&r, &a)
}

// The reader may be the first to see why the writer, which has not reported it yet, has failed: a reset, and data before
// it, are reported. The stream leaves out an end that follows a reset.
func TestReadWhileTheWriterFails(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, test := range map[string]struct {
		data string
		err  error
	}{
		"reset": {"", reset},
		"end":   {"", nil},
		"data":  {"last", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true})
			got, ended := "", false
			s.On.Data(func(p []byte) { got += string(p) })
			s.On.End(func() { ended = true })
			s.On.Error(func(error) {})
			l.AfterFunc(0, func() {
				arrives(s, transport.Report{Data: []byte(test.data), Err: test.err})
				l.Post(func() { s.Destroy(nil) }) // behind End, if that comes
			})
			l.Run()
			assert.Equal(t, test.err, s.Err())
			assert.False(t, ended)
			assert.Equal(t, test.data, got)
		})
	}
}

// A reset that the reader has met is reported as if nobody had written: Error is first.
func TestReadResetOfAFailedWrite(t *testing.T) {
	refused := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	for _, test := range []struct {
		report transport.Report
		want   string
	}{
		{transport.Report{Err: os.NewSyscallError("read", syscall.ECONNRESET), Flags: transport.Reset}, "error callback close "},
		{transport.Report{Err: refused, Flags: transport.WriteFailed}, "callback error close "},
	} {
		l := NewLoop()
		here, there := net.Pipe()
		defer there.Close()
		s := Wrap(here, &SocketOptions{Loop: l})
		events := ""
		s.On.Error(func(error) { events += "error " })
		s.On.Close(func(bool) { events += "close " })
		s.Cork()
		s.WriteThen([]byte("a"), func(error) { events += "callback " })
		l.AfterFunc(0, func() {
			s.mu.Lock()
			s.out.callbacksFirst = true
			s.mu.Unlock()
			arrives(s, test.report)
		})
		l.Run()
		assert.Equal(t, test.want, events)
	}
}
