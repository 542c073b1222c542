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
				s.Destroy(nil)
			})
			l.Run()
			assert.Equal(t, test.told, s.Err())
			assert.False(t, ended)
			assert.Equal(t, test.data, got)
		})
	}
}
