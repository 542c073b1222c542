package main

import (
	"math"

	"golang.org/x/sys/windows"
)

// freeSpace is how many bytes a program may still write to the disk of a directory, and as good as all where the system does
// not report it.
func freeSpace(dir string) int64 {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return math.MaxInt64
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil || free > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(free)
}
