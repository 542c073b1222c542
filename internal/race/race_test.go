package race_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The race detector reports races in a program that is built with it, and no false ones.
func TestDetector(t *testing.T) {
	if !evtest.Long() {
		t.Skip("compiles the whole module again: run with -long")
	}
	program := filepath.Join(t.TempDir(), "detect")
	build := exec.Command("go", "build", "-race", "-o", program, "./testdata/detect")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("EVNET_CI") != "" && os.Getenv("GOARCH") == "" { // not every system has a race detector
			require.NoError(t, err, "%s", out)
		}
		t.Skipf("no program can be built with the race detector: %s", out)
	}
	for name, races := range map[string]bool{
		"wrote": true, "read": true, "none": false, "retained": true, "modified": true, "order": false,
	} {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []string{"", "goroutine"} {
				run := exec.Command(program, name)
				run.Env = append(os.Environ(), "GORACE=exitcode=0 atexit_sleep_ms=0", "EVNET_TRANSPORT="+transport)
				out, err := run.CombinedOutput()
				require.NoError(t, err, "%s", out)
				assert.Contains(t, string(out), "done\n")
				if races {
					assert.Contains(t, string(out), "DATA RACE", "transport %q", transport)
				} else {
					assert.NotContains(t, string(out), "DATA RACE", "transport %q", transport)
				}
			}
		})
	}
}
