package evnet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// failing is a transport that does not return from close.
type failing struct{ transport }

func (t failing) close(reset bool) {
	t.transport.close(reset)
	panic("on purpose")
}

// Close is told whatever closing the conn does.
func TestCloseIsToldWhenClosingPanics(t *testing.T) {
	here, there := net.Pipe()
	l := NewLoop()
	panics := 0
	l.OnPanic(func(*PanicError) { panics++ })
	s := Wrap(here, &SocketOptions{Loop: l})
	s.tr = failing{s.tr}
	l.Post(s.Reset)
	l.Run()
	assert.True(t, s.Closed())
	assert.Equal(t, 1, panics)
	_ = there.Close()
}
