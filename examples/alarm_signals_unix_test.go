//go:build unix

package examples_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// continueSignal continues a stopped process.
const continueSignal = syscall.SIGCONT

// stopAlarm makes a server hang. The kernel still completes connections for it.
func stopAlarm(t *testing.T, s *alarmServer) {
	t.Helper()
	require.NoError(t, s.process.Process.Signal(syscall.SIGSTOP))
}
