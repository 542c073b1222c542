//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package evnet_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Listen waits for another server that starts in the directory, but not for ever for a stranger.
func TestUnixListenInALockedDirectory(t *testing.T) {
	l := evnet.NewLoop()
	path := socketPath(t)
	leaveStale(t, path)
	f, err := os.Open(filepath.Dir(path))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	s := greeter(l, "here", nil)
	began := time.Now()
	require.NoError(t, s.Listen("unix", path, nil))
	assert.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond, "it did not ask for the lock")
	assert.Equal(t, "here", greeting(t, l, path, s))
}
