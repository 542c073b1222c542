//go:build gc

#include "textflag.h"

// func Self() uintptr
TEXT ·Self(SB), NOSPLIT, $0-8
	MOV g, ret+0(FP)
	RET
