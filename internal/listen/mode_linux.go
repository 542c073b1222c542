package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Listen sets the permissions of a socket file safely, although another user may have write permission for its directory,
// and may replace the file or the directory at any moment.
//
//  1. restrict removes all permissions from the socket. bind creates the file with the same
//     permissions, so that no user can connect before SocketMode is set.
//  2. openCreated opens the file without following a link, and checks that it is the one that bind
//     created.
//  3. chmodOpened changes the open file, even if the path leads to another file by then.
//
// One gap remains without CAP_NET_ADMIN: see checkCreated.

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

// settleFile sets the permissions of the file at path to mode, unless mode is 0, and returns the file. The socket fd
// was just bound to path. The file is nil if it may not be the socket's. If settleFile returns a file and an error,
// the caller removes the file.
func settleFile(fd int, path string, mode fs.FileMode) (fs.FileInfo, error) {
	f, file, err := openCreated(fd, path, mode)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if mode != 0 {
		err = chmodOpened(f, mode, "/proc/self/fd/")
	}
	return file, err
}

// openCreated opens the file at path if it is the one that bind has created.
func openCreated(fd int, path string, mode fs.FileMode) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, oPath|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	file, err := f.Stat()
	if err == nil {
		err = checkSocketFile(fd, file, mode)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, file, nil
}

// checkSocketFile returns an error unless file belongs to the bound socket fd.
func checkSocketFile(fd int, file fs.FileInfo, mode fs.FileMode) error {
	bound := boundFile(fd)
	switch {
	case bound == nil:
		return checkCreated(file, mode != 0)
	case !os.SameFile(bound, file):
		return fmt.Errorf("%w: the socket has another file", errReplaced)
	}
	return nil
}

// boundFile returns the file of a bound socket as the kernel reports it. It returns nil if the process lacks
// CAP_NET_ADMIN, or if the kernel is older than 4.12.
func boundFile(fd int) fs.FileInfo {
	opened, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocUnixFile, 0)
	if errno != 0 {
		return nil
	}
	f := os.NewFile(opened, "") // the kernel has set FD_CLOEXEC
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	return info
}

// chmodOpened changes the permissions of a file that was opened with O_PATH, which fchmod refuses.
// The links in the directory fds, /proc/self/fd/, lead to the open file itself and not to its path.
func chmodOpened(f *os.File, mode fs.FileMode, fds string) error {
	fd := int(f.Fd())
	err := os.Chmod(fds+strconv.Itoa(fd), mode)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Only without /proc, because a seccomp filter that does not know fchmodat2 may kill the process.
	if err := syscall.Fchmodat(fd, "", uint32(mode), atEmptyPath); err != nil {
		return fmt.Errorf("SocketMode needs /proc or Linux 6.6: %w", os.NewSyscallError("fchmodat2", err))
	}
	return nil
}
