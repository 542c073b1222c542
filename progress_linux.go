package evnet

import (
	"encoding/binary"
	"net"
	"syscall"
	"unsafe"
)

// Offsets in struct tcp_info, which is the same for all architectures.
const (
	tcpBytesAcked   = 120 // tcpi_bytes_acked, since Linux 4.1
	tcpInfoThatFar  = tcpBytesAcked + 8
	ioctlUnconsumed = syscall.TIOCOUTQ // SIOCOUTQ
)

// kernelProgress asks the kernel how far the peer of conn is: the bytes that it has acknowledged, 0 if unknown, and
// those that it has not acknowledged (of a Unix socket: not read), -1 if unknown. It does not block.
//
// Acknowledged bytes are known for TCP only. There the others are asked for too: Multipath TCP uses several
// connections, of which TCP_INFO shows the first.
func kernelProgress(conn net.Conn) (acked uint64, unconsumed int32) {
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

// bytesAcked returns 0 if the kernel does not know.
func bytesAcked(fd uintptr) uint64 {
	var info [tcpInfoThatFar]byte
	size := uint32(len(info))
	_, _, errno := syscall.Syscall6(sysGetsockopt, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < tcpInfoThatFar {
		return 0
	}
	return binary.NativeEndian.Uint64(info[tcpBytesAcked:])
}
