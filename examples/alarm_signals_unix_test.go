//go:build unix

package examples_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// continueSignal lets a stopped process go on.
const continueSignal = syscall.SIGCONT

// stopAlarm makes a server hang. The system goes on to accept for it.
func stopAlarm(t *testing.T, s *alarmServer) {
	t.Helper()
	require.NoError(t, s.process.Process.Signal(syscall.SIGSTOP))
}
