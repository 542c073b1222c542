package evnet

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The reader may be first to see why the writer has failed, which has not told yet: a reset, and what came
// before it, are believed, the end that follows a reset is not.
func TestReadWhileTheWriterFails(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, test := range map[string]struct {
		data      string
		err, told error
	}{
		"reset": {"", reset, reset},
		"end":   {"", io.EOF, nil},
		"data":  {"last", nil, nil},
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
				s.mu.Lock()
				s.out.failed = true
				s.received(s.tr, []byte(test.data), test.err)
				l.Post(func() { s.Destroy(nil) }) // behind End, if that comes
			})
			l.Run()
			assert.Equal(t, test.told, s.Err())
			assert.False(t, ended)
			assert.Equal(t, test.data, got)
		})
	}
}

// A reset that the reader has met is told as if nobody had written: Error is first.
func TestReadResetOfAFailedWrite(t *testing.T) {
	refused := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	for _, test := range []struct {
		err  error
		want string
	}{
		{os.NewSyscallError("read", syscall.ECONNRESET), "error callback close "},
		{io.EOF, "callback error close "},
	} {
		l := NewLoop()
		here, there := net.Pipe()
		defer there.Close()
		s := Wrap(here, &SocketOptions{Loop: l})
		told := ""
		s.On.Error(func(error) { told += "error " })
		s.On.Close(func(bool) { told += "close " })
		s.Cork()
		s.WriteThen([]byte("a"), func(error) { told += "callback " })
		l.AfterFunc(0, func() {
			s.mu.Lock()
			s.tr.(*goTransport).broken = refused // which is put off
			s.out.callbacksFirst = true
			s.received(s.tr, nil, test.err)
		})
		l.Run()
		assert.Equal(t, test.want, told)
	}
}
