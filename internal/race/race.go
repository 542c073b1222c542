// Package race tells whether the program was built with the race detector.
package race

import (
	"runtime"
	"runtime/debug"
)

// Enabled is true in a program built with -race.
var Enabled = func() bool {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, set := range info.Settings {
			if set.Key == "-race" {
				return set.Value == "true"
			}
		}
	}
	return false
}()

// Wrote shows the race detector that p was written to, where it could not see it: by a system call
// that was made directly.
func Wrote(p []byte) {
	if Enabled {
		for i, b := range p {
			p[i] = b
		}
	}
}

// Read shows the race detector that p was read by such a system call.
func Read(p []byte) {
	if Enabled {
		var all byte
		for _, b := range p {
			all |= b
		}
		runtime.KeepAlive(all)
	}
}
