package evnet

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/poll"
)

// Where a tube cannot be sent from any more, what is in it comes back before what is queued behind it.
func TestSpliceTakenBack(t *testing.T) {
	first, behind := strings.Repeat("first", 5_000), strings.Repeat("behind", 5_000)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	there, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	defer here.Close()
	_, err = there.Write([]byte(first))
	require.NoError(t, err)
	require.NoError(t, there.Close())
	raw, err := here.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)

	l := NewLoop()
	tube := l.ready.tube(l)
	require.NotNil(t, tube)
	o := &outbound{outbox: &outbox{tube: tube, tubeFrom: l}}
	for c := poll.NewCall(); tube.Held() < len(first); {
		_, err := c.Fill(raw, tube)
		require.NoError(t, err)
	}
	o.queued = len(first) + len(behind)
	o.add([]byte(behind))
	o.pour()
	o.pour() // once is enough
	assert.Nil(t, o.tube)
	assert.Zero(t, l.ready.lent)
	got := ""
	for o.queue.len() > 0 {
		got += string(*o.queue.pop())
	}
	assert.Equal(t, first+behind, got)
}
