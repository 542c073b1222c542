package main

import (
	"math"

	"golang.org/x/sys/windows"
)

// freeSpace returns the free bytes on the disk of a directory, or math.MaxInt64 if the operating system does not report them.
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
