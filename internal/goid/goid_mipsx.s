//go:build gc && (mips || mipsle)

#include "textflag.h"

// func Self() uintptr
TEXT ·Self(SB), NOSPLIT, $0-4
	MOVW g, ret+0(FP)
	RET
