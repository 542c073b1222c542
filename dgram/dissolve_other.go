//go:build !linux

package dgram

import (
	"net/netip"
	"syscall"
)

// dissolve ends the association of a descriptor with its peer: here, to connect to no address does. That
// it is an error is no matter; only that there still is a peer would be.
func dissolve(fd descriptor, like netip.AddrPort) error {
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
