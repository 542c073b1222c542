//go:build unix

package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// maxPath is how long the path of a socket may be, less the NUL at its end.
	maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1
	// backlog is more than systems grant: they cut it down to their own maximum.
	backlog = 1<<16 - 1
)

var errNotListening = wrappedError{"the socket does not listen", syscall.EINVAL}

// openDirectory opens a directory, so that a path that leads elsewhere later does not matter.
func openDirectory(path string) directory {
	root, err := os.OpenRoot(path)
	if err != nil {
		return pathDirectory(path)
	}
	return root
}

// absolute does not clean the path: with a symbolic link before "..", that would be another one.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	dir, err := os.Getwd()
	return dir + "/" + path, err
}

// bindFile listens at a path that must be free. It sets the mode before the socket listens, because
// nobody can connect until then; net.Listen leaves no time for that.
func bindFile(path string, mode fs.FileMode) (*net.UnixListener, fs.FileInfo, error) {
	fd, err := unixSocket(syscall.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // the listener has a copy
	if err := restrict(fd, mode); err != nil {
		return nil, nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, nil, os.NewSyscallError("bind", err)
	}
	made, err := settleFile(fd, path, mode)
	if err == nil {
		err = os.NewSyscallError("listen", syscall.Listen(fd, backlog))
	}
	var ln net.Listener
	if err == nil {
		ln, err = net.FileListener(f)
	}
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // Listen says the rest
		}
		if made != nil {
			err = errors.Join(err, removeOwn(path, made))
		}
		return nil, nil, err
	}
	return ln.(*net.UnixListener), made, nil
}

// checkMade returns an error unless made looks like the file that bind has just created for this
// process. A restricted socket's file has no permissions: another file that looks so belongs to a
// server of the same user that is inside Listen at the same moment. Without that mark, any socket
// file of the same user looks so; nothing but its removal at Close depends on it.
func checkMade(made fs.FileInfo, restricted bool) error {
	st, ok := made.Sys().(*syscall.Stat_t)
	reason := ""
	switch {
	case made.Mode().Type() != fs.ModeSocket:
		reason = "it is not a socket"
	case ok && int64(st.Uid) != int64(os.Geteuid()):
		reason = "another user owns it"
	case ok && st.Nlink != 1:
		reason = "it has several names"
	case restricted && made.Mode().Perm() != 0:
		reason = fmt.Sprintf("its permissions are %v", made.Mode().Perm())
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", errReplaced, reason)
}

func unixSocket(kind int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, kind, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("setnonblock", err)
	}
	return fd, nil
}

// checkAbandoned has no error if no socket is bound to the file at path. A datagram socket is asked
// first: a stream server shows as one of another type, even before it listens or with a full
// backlog, which some systems tell as a refusal, and does not notice.
func checkAbandoned(path string) error {
	for _, kind := range []int{syscall.SOCK_DGRAM, syscall.SOCK_STREAM} {
		fd, err := unixSocket(kind)
		if err != nil {
			return err
		}
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
		_ = syscall.Close(fd)
		switch err {
		case syscall.ECONNREFUSED:
		case nil, syscall.EPROTOTYPE, syscall.EAGAIN, syscall.EINPROGRESS:
			return errors.New("somebody listens there")
		default:
			return fmt.Errorf("somebody may listen there: %w", err)
		}
	}
	return nil
}

// CheckListens refuses a socket at which every accept would fail, as long as it is served.
func CheckListens(ln net.Listener) error {
	var raw syscall.RawConn
	var err error
	switch ln := ln.(type) {
	case *net.TCPListener:
		raw, err = ln.SyscallConn()
	case *net.UnixListener:
		raw, err = ln.SyscallConn()
	}
	if raw == nil || err != nil {
		return nil
	}
	listens := 1
	err = raw.Control(func(fd uintptr) {
		listens, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	})
	if err == nil && listens == 0 {
		return errNotListening
	}
	return nil
}
