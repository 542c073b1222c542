//go:build race

// Package race tells the race detector what it cannot see: what a system call that was made directly
// does with memory.
package race

import (
	"runtime"
	"unsafe"
)

// Enabled is true in a program built with -race.
const Enabled = true

// Wrote says that p was written to.
func Wrote(p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&p[0]), len(p))
	}
}

// Read says that p is being read.
func Read(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&p[0]), len(p))
	}
}
