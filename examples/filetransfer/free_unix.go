//go:build linux || darwin

package main

import (
	"math"
	"syscall"
)

// freeSpace is how many bytes a program may still write to the disk of a directory, and as good as all where the system does
// not report it.
func freeSpace(dir string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return math.MaxInt64
	}
	if blocks := uint64(math.MaxInt64) / uint64(s.Bsize); s.Bavail > blocks {
		return math.MaxInt64
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
