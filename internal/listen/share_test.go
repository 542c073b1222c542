//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package listen

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Listen waits for another server that starts in the directory, but only for a short time: any program may have locked
// the directory.
func TestListen_InALockedDirectory(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	leaveStale(t, path)
	f, err := os.Open(filepath.Dir(path))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	began := time.Now()
	ln := listenAt(t, "unix", path, Config{})
	assert.GreaterOrEqual(t, time.Since(began), lockTimeout/2, "Listen did not wait for the lock")
	requireAccepts(t, ln, "unix", path)
}

func TestListen_ReusePort(t *testing.T) {
	first := listenAt(t, "tcp", "127.0.0.1:0", Config{ReusePort: true})
	address := first.Addr().String()
	second := listenAt(t, "tcp", address, Config{ReusePort: true})
	assert.Equal(t, first.Addr(), second.Addr())
	_, err := Listen(t.Context(), "tcp", address, Config{})
	assert.ErrorIs(t, err, syscall.EADDRINUSE, "the other listener does not share its port")
}
