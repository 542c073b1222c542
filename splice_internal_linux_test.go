package evnet

import (
	"io"
	"testing"

	"evnet/internal/evtest"
	"evnet/internal/transport"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Bytes in a splice pipe pause their source even below the high-water mark: nothing else is read until they are
// sent.
func TestSpliceHoldsOnePipe(t *testing.T) {
	onPoll(t)
	const piece = 32 << 10
	l := NewLoop()
	from, fromPeer := unixPair(t)
	to, toPeer := unixPair(t)
	src, dst := onLoop(l, from), onLoop(l, to)
	require.Less(t, piece, dst.HighWaterMark())
	src.Pipe(dst)
	send := func() {
		_, err := fromPeer.Write(make([]byte, piece))
		require.NoError(t, err)
	}
	var before int64
	filled := 0
	send() // after one large chunk the next is spliced
	rounds(t, l, 3, func() {
		require.EqualValues(t, piece, src.BytesRead())
		before, filled = transport.Spliced.Load(), evtest.FillUp(t, to)
		send()
		rounds(t, l, 3, func() {
			assert.True(t, src.Paused())
			send()
			rounds(t, l, 3, func() {
				assert.EqualValues(t, 2*piece, src.BytesRead())
				assert.Equal(t, piece, dst.BufferedAmount())
				assert.False(t, dst.NeedDrain())
				_ = fromPeer.Close()
				go func() {
					n, err := io.Copy(io.Discard, toPeer)
					assert.NoError(t, err)
					assert.EqualValues(t, filled+3*piece, n)
					_ = toPeer.Close()
				}()
			})
		})
	})
	dst.Resume()
	runs(t, l)
	assert.EqualValues(t, 2*piece, transport.Spliced.Load()-before)
}
