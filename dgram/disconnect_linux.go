package dgram

import (
	"net/netip"
	"syscall"
	"unsafe"
)

// disconnect ends the association of a descriptor with its peer.
func disconnect(fd descriptor, _ netip.AddrPort) error {
	none := syscall.RawSockaddrInet6{Family: syscall.AF_UNSPEC}
	_, _, errno := syscall.RawSyscall(calls.connect, uintptr(fd), uintptr(unsafe.Pointer(&none)), syscall.SizeofSockaddrInet6)
	if errno != 0 {
		return errno
	}
	return nil
}
