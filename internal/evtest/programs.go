package evtest

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// Command is a program that is not part of the library, ended with the test. Where EVNET_CI is set
// nothing may be skipped, so that a machine without the program cannot pass.
func Command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := RequireProgram(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// RequireProgram is where a program is. A test that listens before it has its command asks before that: who is skipped leaves
// no server behind.
func RequireProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		SkipOrFail(t, name+" is not installed")
	}
	return path
}

// SkipOrFail skips a test for want of something. With EVNET_CI set the test fails instead.
func SkipOrFail(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("EVNET_CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
