//go:build linux || darwin

package main

import (
	"math"
	"syscall"
)

// freeSpace returns the free bytes on the disk of a directory, or math.MaxInt64 if the operating system does not report them.
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
