package netpoll

import (
	"encoding/binary"
	"net"
	"syscall"
	"unsafe"
)

// Offsets in struct tcp_info, which are the same on all architectures.
const (
	tcpBytesAcked   = 120               // tcpi_bytes_acked, since Linux 4.1
	tcpInfoSize     = tcpBytesAcked + 8 // up to and including it
	ioctlUnconsumed = syscall.TIOCOUTQ  // SIOCOUTQ
)

// Progress returns the progress of conn's peer: the bytes that it has acknowledged, 0 if unknown, and the sent bytes that
// it has not acknowledged (or, for a Unix socket, not read), -1 if unknown. It does not block.
//
// Acknowledged bytes are known for TCP only. The unacknowledged bytes are useful for TCP too: Multipath TCP uses several
// connections, and TCP_INFO describes the first one only.
func Progress(conn net.Conn) (acked uint64, unconsumed int32) {
	var raw syscall.RawConn
	var err error
	tcp := false
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
		tcp = true
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if raw == nil || err != nil {
		return 0, -1
	}
	unconsumed = -1
	_ = raw.Control(func(fd uintptr) {
		if tcp {
			acked = bytesAcked(fd)
		}
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, ioctlUnconsumed, uintptr(unsafe.Pointer(&unconsumed)))
		if errno != 0 {
			unconsumed = -1
		}
	})
	return acked, unconsumed
}

// bytesAcked returns the bytes that the peer has acknowledged, 0 if the kernel does not count them.
func bytesAcked(fd uintptr) uint64 {
	var info [tcpInfoSize]byte
	size := uint32(len(info))
	_, _, errno := syscall.Syscall6(SysGetsockopt, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < tcpInfoSize {
		return 0
	}
	return binary.NativeEndian.Uint64(info[tcpBytesAcked:])
}
