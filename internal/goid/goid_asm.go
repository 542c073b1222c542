//go:build gc && (386 || amd64 || arm || arm64 || loong64 || mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x)

package goid

// Self is a number that no other living goroutine has: the address of the runtime's record of the
// calling one, which stays where it is. It may be given to another goroutine once this one has
// ended. It costs about a nanosecond.
func Self() uintptr
