package evnet

const sysGetsockopt = 365 // package syscall still goes by socketcall
