package netpoll_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newPipe(t testing.TB) *netpoll.SplicePipe {
	p, err := netpoll.NewSplicePipe()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// Bytes pass through a SplicePipe from one socket to another; Len counts those inside.
func TestSplicePipe(t *testing.T) {
	bounded(t)
	from, source := pair(t)
	to, sink := pair(t)
	c, p := netpoll.NewCall(), newPipe(t)

	n, err := c.Fill(raw(t, from), p)
	assert.Zero(t, n, "no data")
	assert.NoError(t, err)
	_, err = source.Write([]byte("abcdef"))
	require.NoError(t, err)
	n, err = c.Fill(raw(t, from), p)
	assert.Equal(t, 6, n)
	assert.NoError(t, err)
	assert.Equal(t, 6, p.Len())

	n, err = c.Drain(raw(t, to), p)
	assert.Equal(t, 6, n)
	assert.NoError(t, err)
	assert.Zero(t, p.Len())
	got := make([]byte, 6)
	_, err = io.ReadFull(sink, got)
	require.NoError(t, err)
	assert.Equal(t, "abcdef", string(got))

	require.NoError(t, source.Close())
	n, err = c.Fill(raw(t, from), p)
	assert.Zero(t, n, "end of the stream")
	assert.NoError(t, err)
}

// Drain moves what the socket accepts; ReadAll returns the rest.
func TestSplicePipe_ReadAll(t *testing.T) {
	bounded(t)
	from, source := pair(t)
	to, sink := pair(t)
	c, p := netpoll.NewCall(), newPipe(t)
	var sent []byte
	for p.Len() == 0 { // until the socket accepts no more
		chunk := bytes.Repeat([]byte{byte(len(sent) >> 13)}, 8<<10)
		_, err := source.Write(chunk)
		require.NoError(t, err)
		sent = append(sent, chunk...)
		_, err = c.Fill(raw(t, from), p)
		require.NoError(t, err)
		_, err = c.Drain(raw(t, to), p)
		require.NoError(t, err)
	}
	rest := p.ReadAll()
	assert.NotEmpty(t, rest)
	assert.Zero(t, p.Len())
	assert.Empty(t, p.ReadAll())
	more := make([]byte, len(sent)) // the bytes that remain in the socket after Fill
	n, _, err := c.Read(raw(t, from), more)
	require.NoError(t, err)
	require.NoError(t, to.CloseWrite())
	got, err := io.ReadAll(sink)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, append(append(got, rest...), more[:n]...)))
}

// SendFile sends from the offset of the file, and reports its end.
func TestSendFile(t *testing.T) {
	bounded(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("skipped, sent")
	require.NoError(t, err)
	_, err = f.Seek(int64(len("skipped, ")), io.SeekStart)
	require.NoError(t, err)
	file, err := f.SyscallConn()
	require.NoError(t, err)
	here, there := pair(t)
	c := netpoll.NewCall()
	for _, want := range []int{3, 1, 0} {
		n, ended, err := c.SendFile(raw(t, here), file, 3)
		assert.Equal(t, want, n)
		assert.Equal(t, want == 0, ended)
		assert.NoError(t, err)
	}
	got := make([]byte, 4)
	_, err = io.ReadFull(there, got)
	require.NoError(t, err)
	assert.Equal(t, "sent", string(got))
}

// EdgeTriggered reports data once, and again when more arrives.
func TestWatch_EdgeTriggered(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	require.NoError(t, netpoll.NewCall().Watch(raw(t, here), p, false, 1, netpoll.Readable|netpoll.EdgeTriggered))
	for range 2 {
		_, err := there.Write([]byte("x"))
		require.NoError(t, err)
		assert.Equal(t, 1, p.Poll())
		assert.Zero(t, p.Poll())
	}
}
