package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// How Listen sets the permissions of a socket file although another user may write to its
// directory, and may replace the file or the directory at any moment.
//
//  1. restrict removes all permissions from the socket. bind creates the file with those of the
//     socket, so that there are none to use before SocketMode is set.
//  2. openMade opens the file without following a link, and checks that it is the one that bind
//     created.
//  3. chmodOpened changes the open file, whatever the path leads to by then.
//
// One gap remains without CAP_NET_ADMIN: see checkMade.

// Linux constants that package syscall lacks. They are the same on every architecture of Go.
const (
	oPath        = 0x200000 // O_PATH
	atEmptyPath  = 0x1000   // AT_EMPTY_PATH
	siocUnixFile = 0x89e0   // SIOCUNIXFILE
)

// restrict prepares an unbound socket for settleFile.
func restrict(fd int, mode fs.FileMode) error {
	if mode == 0 {
		return nil
	}
	return os.NewSyscallError("fchmod", syscall.Fchmod(fd, 0))
}

// settleFile gives the file at path the permissions mode, if there are any, and returns the file.
// The socket fd was just bound to path. The file is nil if it may not be the socket's; an error with
// a file leaves the file to the caller.
func settleFile(fd int, path string, mode fs.FileMode) (fs.FileInfo, error) {
	f, made, err := openMade(fd, path, mode)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if mode != 0 {
		err = chmodOpened(f, mode, "/proc/self/fd/")
	}
	return made, err
}

// openMade opens the file at path if it is the one that bind has created.
func openMade(fd int, path string, mode fs.FileMode) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, oPath|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	made, err := f.Stat()
	if err == nil {
		err = checkSocketFile(fd, made, mode)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, made, nil
}

// checkSocketFile returns an error unless made is the file of the bound socket fd.
func checkSocketFile(fd int, made fs.FileInfo, mode fs.FileMode) error {
	bound := boundFile(fd)
	switch {
	case bound == nil:
		return checkMade(made, mode != 0)
	case !os.SameFile(bound, made):
		return fmt.Errorf("%w: the socket has another file", errReplaced)
	}
	return nil
}

// boundFile asks the kernel for the file of a bound socket. It returns nil if the kernel does not
// answer: the process lacks CAP_NET_ADMIN, or the kernel is older than 4.12.
func boundFile(fd int) fs.FileInfo {
	file, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocUnixFile, 0)
	if errno != 0 {
		return nil
	}
	f := os.NewFile(file, "") // the kernel has set FD_CLOEXEC
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	return info
}

// chmodOpened changes the permissions of a file that was opened with O_PATH, which fchmod refuses.
// The links in fds, /proc/self/fd/, lead to the open file itself and not to its path.
func chmodOpened(f *os.File, mode fs.FileMode, fds string) error {
	fd := int(f.Fd())
	err := os.Chmod(fds+strconv.Itoa(fd), mode)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Only without /proc, because seccomp filters that do not know fchmodat2 may end the process.
	if err := syscall.Fchmodat(fd, "", uint32(mode), atEmptyPath); err != nil {
		return fmt.Errorf("SocketMode needs /proc or Linux 6.6: %w", os.NewSyscallError("fchmodat2", err))
	}
	return nil
}
