//go:build !(gc && (386 || amd64 || arm || arm64 || loong64 || mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x))

package goid

import (
	"bytes"
	"runtime"
	"strconv"
)

// Self returns a number that no other goroutine has: the number in the first line of a stack trace,
// "goroutine 7 [running]:". Self takes about a microsecond.
func Self() uintptr {
	var buf [64]byte
	text := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	id, _ := strconv.ParseUint(string(text[:max(bytes.IndexByte(text, ' '), 0)]), 10, 64)
	return uintptr(id)
}
