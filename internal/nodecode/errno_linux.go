package nodecode

import "syscall"

// platformNamed are the errors that only some systems have.
var platformNamed = []struct {
	errno syscall.Errno
	code  string
}{
	{syscall.EMULTIHOP, "EMULTIHOP"},
	{syscall.ENODATA, "ENODATA"},
	{syscall.ENOLINK, "ENOLINK"},
	{syscall.ENONET, "ENONET"},
	{syscall.ENOSR, "ENOSR"},
	{syscall.ENOSTR, "ENOSTR"},
	{syscall.EREMOTEIO, "EREMOTEIO"},
	{syscall.ETIME, "ETIME"},
	{syscall.EUNATCH, "EUNATCH"},
}
