package limits_test

import (
	"io"
	"testing"

	"evnet"
	"evnet/conformance/kit"

	"github.com/stretchr/testify/assert"
)

// A Write may be refused although NeedDrain is false: the loop becomes short of memory after the last Write. A program
// that stops at the error must be able to continue, so Drain follows.
func TestMaxBuffered_EmitsDrainAfterARefusedWrite(t *testing.T) {
	l := evnet.NewLoop()
	l.SetMaxBuffered(80 * kilobyte)
	s, peer := unread(t, l)
	other, _ := unread(t, l)
	_, err := s.Write(make([]byte, 30*kilobyte))
	assert.NoError(t, err)
	assert.False(t, s.NeedDrain())
	_, err = other.Write(make([]byte, 50*kilobyte))
	assert.NoError(t, err)
	assert.False(t, s.NeedDrain())
	_, err = s.Write([]byte("refused"))
	assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
	assert.True(t, s.NeedDrain())

	drained := 0
	s.On.Drain(func() {
		drained++
		other.Destroy(nil)
		assert.False(t, s.NeedDrain())
		_, err := s.Write([]byte("accepted"))
		assert.NoError(t, err)
		s.End()
	})
	s.Resume()
	kit.Aside(l, func() {
		got, err := io.ReadAll(peer)
		assert.NoError(t, err)
		assert.Equal(t, "accepted", string(got[30*kilobyte:]))
		_ = peer.Close()
	})
	kit.Run(t, l)
	assert.Equal(t, 1, drained)
}
