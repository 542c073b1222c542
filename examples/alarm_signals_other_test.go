//go:build !unix

package examples_test

import (
	"os"
	"testing"
)

var continueSignal = os.Interrupt

func stopAlarm(t *testing.T, _ *alarmServer) { t.Skip("a process cannot be stopped here") }
