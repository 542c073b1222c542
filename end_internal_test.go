package evnet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Close is emitted although closing the connection panics.
func TestClose_IsEmittedWhenClosingPanics(t *testing.T) {
	here, there := net.Pipe()
	l := NewLoop()
	panics := 0
	l.OnPanic(func(*PanicError) { panics++ })
	s := Wrap(here, &SocketOptions{Loop: l})
	l.Post(func() {
		s.mu.Lock()
		e := s.destroyLocked(nil, true)
		s.mu.Unlock()
		e.handshake = &handshaking{cancel: func() { panic("on purpose") }} // which closing ends
		e.run()
	})
	l.Run()
	assert.True(t, s.Closed())
	assert.Equal(t, 1, panics)
	_ = there.Close()
}
