package transport

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/evtest"
	"evnet/internal/nodecode"
)

// If the kernel knows why a conn is not pollable, that is the error.
func TestPollCause_OfAReset(t *testing.T) {
	here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
	_, err := here.Write([]byte("unread"))
	require.NoError(t, err)
	require.NoError(t, there.Close())
	assert.Equal(t, "ECONNRESET", nodecode.Of(pollCause(here, notPollable)))
	assert.Equal(t, "EIO", nodecode.Of(pollCause(here, notPollable)), "the kernel reports it once")
}
