//go:build unix

package transport

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Behaviour of both drivers with a descriptor that can be written to without blocking.

// The bytes of Send are sent together with bytes that were held before.
func TestSend_BehindHeldBytes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := newLoop(t)
		here, there := tcpPair(t)
		o := own(l, here)
		o.do(func(s *Stream) {
			s.Hold()
			s.Append([]byte("one "))
			flags, err := s.Send([]byte("two"))
			assert.NoError(t, err)
			assert.Equal(t, Moved|Completed, flags)
			s.Append([]byte("three"))
			assert.Zero(t, s.Sendable(), "the hold remains")
		})
		p := make([]byte, 7)
		_, err := io.ReadFull(there, p)
		require.NoError(t, err)
		assert.Equal(t, "one two", string(p))
	})
}

// If the peer has already ended, this side's end is not sent, because the owner closes the conn.
func TestEnd_AfterThePeers(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := newLoop(t)
		here, there := tcpPair(t)
		o := own(l, here)
		o.do(func(s *Stream) { s.NotePeerEnd() })
		o.end(t)
		o.end(t)
		l.drain()
		assert.Equal(t, 1, o.ended)
		_, err := here.Write([]byte("not ended"))
		require.NoError(t, err)
		o.retire(false)
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.Equal(t, "not ended", string(got))
	})
}
