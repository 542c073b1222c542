//go:build !linux

package dgram

import (
	"net/netip"
	"syscall"
)

// disconnect ends the association of a descriptor with its peer, by connecting it to the unspecified address. It returns
// the error of that call only if the descriptor still has a peer.
func disconnect(fd descriptor, like netip.AddrPort) error {
	none := netip.IPv4Unspecified()
	if like.Addr().Is6() {
		none = netip.IPv6Unspecified()
	}
	err := syscall.Connect(fd, sockaddr(netip.AddrPortFrom(none, 0)))
	if _, still := syscall.Getpeername(fd); still == nil {
		return err
	}
	return nil
}
