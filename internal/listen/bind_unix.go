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

	"evnet/internal/nodecode"
)

const (
	// maxPath is the maximum length of a socket's path, without the NUL at its end.
	maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1
	// backlog is more than any kernel allows. Each kernel reduces it to its own maximum.
	backlog = 1<<16 - 1
)

var errNotListening error = &nodecode.Error{Text: "the socket does not listen", Cause: syscall.EINVAL}

// openDirectory opens a directory, so that the path may lead elsewhere later.
func openDirectory(path string) directory {
	root, err := os.OpenRoot(path)
	if err != nil {
		return pathDirectory(path)
	}
	return root
}

// absolute returns path as an absolute path. It does not clean it: that changes the meaning of ".." after a symbolic
// link.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	dir, err := os.Getwd()
	return dir + "/" + path, err
}

// bindFile listens at a path that must be free, and returns the socket's file. It sets the mode between bind and listen,
// before a client can connect. net.Listen does both in one call.
func bindFile(path string, mode fs.FileMode) (*net.UnixListener, fs.FileInfo, error) {
	fd, err := unixSocket(syscall.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // the listener has a duplicate
	if err := restrict(fd, mode); err != nil {
		return nil, nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, nil, os.NewSyscallError("bind", err)
	}
	file, err := settleFile(fd, path, mode)
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
			err = op.Err // the caller adds the operation and the address
		}
		if file != nil {
			err = errors.Join(err, removeOwn(path, file))
		}
		return nil, nil, err
	}
	return ln.(*net.UnixListener), file, nil
}

// checkCreated returns an error unless file looks like the one that bind has just created for this process.
//
// The file of a restricted socket has no permissions. Another socket file without permissions belongs to a server of
// the same user that is inside Listen at the same moment. If the socket is not restricted, any socket file of the same
// user passes; only the removal at Close depends on it.
func checkCreated(file fs.FileInfo, restricted bool) error {
	st, ok := file.Sys().(*syscall.Stat_t)
	why := ""
	switch {
	case file.Mode().Type() != fs.ModeSocket:
		why = "it is not a socket"
	case ok && int64(st.Uid) != int64(os.Geteuid()):
		why = "another user owns it"
	case ok && st.Nlink != 1:
		why = "it has more than one link"
	case restricted && file.Mode().Perm() != 0:
		why = fmt.Sprintf("its permissions are %v", file.Mode().Perm())
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", errReplaced, why)
}

// unixSocket returns a nonblocking socket of a type such as SOCK_STREAM.
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

// checkStale returns nil if no socket is bound to the file at path.
//
// It connects a datagram socket first. A stream server refuses it by its type, even before it listens or while its
// backlog is full, and does not notice. Some systems report a full backlog as ECONNREFUSED to a stream socket.
func checkStale(path string) error {
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
			return errors.New("a socket is bound to it")
		default:
			return fmt.Errorf("a socket may be bound to it: %w", err)
		}
	}
	return nil
}

// CheckListening returns an error that is EINVAL if ln is a socket that does not listen: each accept would fail.
func CheckListening(ln net.Listener) error {
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
