package nodecode

import "syscall"

// named are the errors of the operating system with their names, which are Node's codes. An error that libuv does not know,
// such as EDQUOT, is "UNKNOWN" in Node; its name says more. testdata/codes.json has the names that Node has.
var named = []struct {
	errno syscall.Errno
	code  string
}{
	{syscall.E2BIG, "E2BIG"},
	{syscall.EACCES, "EACCES"},
	{syscall.EADDRINUSE, "EADDRINUSE"},
	{syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"},
	{syscall.EAFNOSUPPORT, "EAFNOSUPPORT"},
	{syscall.EAGAIN, "EAGAIN"},
	{syscall.EALREADY, "EALREADY"},
	{syscall.EBADF, "EBADF"},
	{syscall.EBADMSG, "EBADMSG"},
	{syscall.EBUSY, "EBUSY"},
	{syscall.ECANCELED, "ECANCELED"},
	{syscall.ECHILD, "ECHILD"},
	{syscall.ECONNABORTED, "ECONNABORTED"},
	{syscall.ECONNREFUSED, "ECONNREFUSED"},
	{syscall.ECONNRESET, "ECONNRESET"},
	{syscall.EDEADLK, "EDEADLK"},
	{syscall.EDESTADDRREQ, "EDESTADDRREQ"},
	{syscall.EDOM, "EDOM"},
	{syscall.EDQUOT, "EDQUOT"},
	{syscall.EEXIST, "EEXIST"},
	{syscall.EFAULT, "EFAULT"},
	{syscall.EFBIG, "EFBIG"},
	{syscall.EHOSTDOWN, "EHOSTDOWN"},
	{syscall.EHOSTUNREACH, "EHOSTUNREACH"},
	{syscall.EIDRM, "EIDRM"},
	{syscall.EILSEQ, "EILSEQ"},
	{syscall.EINPROGRESS, "EINPROGRESS"},
	{syscall.EINTR, "EINTR"},
	{syscall.EINVAL, "EINVAL"},
	{syscall.EIO, "EIO"},
	{syscall.EISCONN, "EISCONN"},
	{syscall.EISDIR, "EISDIR"},
	{syscall.ELOOP, "ELOOP"},
	{syscall.EMFILE, "EMFILE"},
	{syscall.EMLINK, "EMLINK"},
	{syscall.EMSGSIZE, "EMSGSIZE"},
	{syscall.ENAMETOOLONG, "ENAMETOOLONG"},
	{syscall.ENETDOWN, "ENETDOWN"},
	{syscall.ENETRESET, "ENETRESET"},
	{syscall.ENETUNREACH, "ENETUNREACH"},
	{syscall.ENFILE, "ENFILE"},
	{syscall.ENOBUFS, "ENOBUFS"},
	{syscall.ENODEV, "ENODEV"},
	{syscall.ENOENT, "ENOENT"},
	{syscall.ENOEXEC, "ENOEXEC"},
	{syscall.ENOLCK, "ENOLCK"},
	{syscall.ENOMEM, "ENOMEM"},
	{syscall.ENOMSG, "ENOMSG"},
	{syscall.ENOPROTOOPT, "ENOPROTOOPT"},
	{syscall.ENOSPC, "ENOSPC"},
	{syscall.ENOSYS, "ENOSYS"},
	{syscall.ENOTCONN, "ENOTCONN"},
	{syscall.ENOTDIR, "ENOTDIR"},
	{syscall.ENOTEMPTY, "ENOTEMPTY"},
	{syscall.ENOTSOCK, "ENOTSOCK"},
	{syscall.ENOTSUP, "ENOTSUP"},
	{syscall.ENOTTY, "ENOTTY"},
	{syscall.ENXIO, "ENXIO"},
	{syscall.EOVERFLOW, "EOVERFLOW"},
	{syscall.EPERM, "EPERM"},
	{syscall.EPIPE, "EPIPE"},
	{syscall.EPROTO, "EPROTO"},
	{syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
	{syscall.EPROTOTYPE, "EPROTOTYPE"},
	{syscall.ERANGE, "ERANGE"},
	{syscall.EROFS, "EROFS"},
	{syscall.ESHUTDOWN, "ESHUTDOWN"},
	{syscall.ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"},
	{syscall.ESPIPE, "ESPIPE"},
	{syscall.ESRCH, "ESRCH"},
	{syscall.ESTALE, "ESTALE"},
	{syscall.ETIMEDOUT, "ETIMEDOUT"},
	{syscall.ETXTBSY, "ETXTBSY"},
	{syscall.EXDEV, "EXDEV"},
	{syscall.EOPNOTSUPP, "ENOTSUP"}, // Node has one name for both
}

// codes are named and platformNamed by their numbers.
var codes = func() map[syscall.Errno]string {
	codes := map[syscall.Errno]string{}
	for _, n := range append(named, platformNamed...) {
		if codes[n.errno] == "" { // some systems have two names for a number
			codes[n.errno] = n.code
		}
	}
	return codes
}()

// errnoCode returns the code of an error of the operating system.
func errnoCode(errno syscall.Errno) string {
	if code := platformCode(errno); code != "" {
		return code
	}
	return codes[errno]
}
