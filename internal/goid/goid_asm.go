//go:build gc && (386 || amd64 || arm || arm64 || loong64 || mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x)

package goid

// Self returns a number that no other running goroutine has: the address of the runtime's g structure of the
// calling goroutine, which does not move. After the goroutine has ended, another one may get the same number.
// Self takes about a nanosecond.
func Self() uintptr
