package evtest

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// Command returns the command of a program that is not part of the library. The program is killed at the end of the
// test. With EVNET_CI set no test may be skipped, so that a machine without the program fails.
func Command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := RequireProgram(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// RequireProgram returns the path of a program, or skips the test. A test that starts a server calls it first, so that
// a skipped test leaves no server running.
func RequireProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		SkipOrFail(t, name+" is not installed")
	}
	return path
}

// SkipOrFail skips a test for the given reason. With EVNET_CI set the test fails instead.
func SkipOrFail(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("EVNET_CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
