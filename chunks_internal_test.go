package evnet

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A chunk that the goroutine in a range has not taken yet goes back as it came, also where SetEncoding was
// called since.
func TestChunkIsReclaimedAsItCame(t *testing.T) {
	s := NewSocket(&SocketOptions{Loop: NewLoop()})
	c, err := s.beginChunks()
	require.NoError(t, err)
	c.asked = true
	s.giveChunk(c, []byte{0xe9}, false)
	require.NoError(t, s.SetEncoding(Latin1))
	s.mu.Lock()
	s.reclaimChunk()
	text, raw := s.in.text, s.in.raw
	s.mu.Unlock()
	s.leaveChunks(c)
	assert.Empty(t, text)
	assert.Equal(t, []byte{0xe9}, raw)
}
