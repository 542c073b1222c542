package dgram

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// This file reads and changes the addresses that the kernel has for a conn.

// localAddress returns the local address of a conn, as the kernel reports it: Connect changes it.
func localAddress(conn net.PacketConn) netip.AddrPort {
	at := sockaddrOf(conn, syscall.Getsockname)
	if !at.IsValid() {
		at = addrPort(conn.LocalAddr())
	}
	return at
}

// remoteAddress returns the peer of a connected *net.UDPConn. ok is false for any other conn.
func remoteAddress(conn net.PacketConn) (at netip.AddrPort, ok bool) {
	if _, ok := conn.(*net.UDPConn); !ok {
		return netip.AddrPort{}, false
	}
	at = sockaddrOf(conn, syscall.Getpeername)
	return at, at.IsValid()
}

// sockaddrOf returns the address that call, Getsockname or Getpeername, returns for the descriptor of conn. It returns
// the zero AddrPort if there is none.
func sockaddrOf(conn net.PacketConn, call func(descriptor) (syscall.Sockaddr, error)) (at netip.AddrPort) {
	_ = onConn(conn, func(fd descriptor) error {
		switch name, _ := call(fd); name := name.(type) {
		case *syscall.SockaddrInet4:
			at = netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))
		case *syscall.SockaddrInet6:
			ip := netip.AddrFrom16(name.Addr)
			if name.ZoneId != 0 {
				ip = ip.WithZone(zoneName(name.ZoneId))
			}
			at = netip.AddrPortFrom(ip, uint16(name.Port))
		}
		return nil
	})
	return at
}

// networkOf returns the network of a UDP conn, "udp4" or "udp6". For any other conn it returns "".
func networkOf(conn net.PacketConn) string {
	switch at := sockaddrOf(conn, syscall.Getsockname); {
	case !isUDP(conn):
		return ""
	case at.Addr().Is4():
		return "udp4"
	case at.Addr().Is6():
		return "udp6"
	}
	return ""
}

// isUDP reports whether the local address of conn is a *net.UDPAddr.
func isUDP(conn net.PacketConn) bool {
	_, ok := conn.LocalAddr().(*net.UDPAddr)
	return ok
}

// addrPort returns the IP address and port of an address of any type, or the zero AddrPort if it has none.
func addrPort(addr net.Addr) netip.AddrPort {
	switch a := addr.(type) {
	case nil:
		return netip.AddrPort{}
	case *net.UDPAddr:
		if a == nil {
			return netip.AddrPort{}
		}
		return a.AddrPort()
	}
	at, _ := netip.ParseAddrPort(addr.String())
	return at
}

// sockaddr converts an address for package syscall.
func sockaddr(to netip.AddrPort) syscall.Sockaddr {
	if to.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &syscall.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: zoneIndex(to.Addr().Zone())}
}

// connectConn connects the descriptor of conn, which must be a *net.UDPConn, to a peer.
func connectConn(conn net.PacketConn, to netip.AddrPort) error {
	if _, ok := conn.(*net.UDPConn); !ok {
		return fmt.Errorf("%T is not a *net.UDPConn: %w", conn, errors.ErrUnsupported)
	}
	return onConn(conn, func(fd descriptor) error {
		return os.NewSyscallError("connect", syscall.Connect(fd, sockaddr(to)))
	})
}

// disconnectConn undoes connectConn. If the kernel also removes the port, because it had chosen it itself, disconnectConn
// binds the conn to before, an address with the former port, so that it continues to receive.
func disconnectConn(conn net.PacketConn, before netip.AddrPort) error {
	return onConn(conn, func(fd descriptor) error {
		if err := disconnect(fd, before); err != nil {
			return os.NewSyscallError("connect", err)
		}
		name, _ := syscall.Getsockname(fd)
		port := -1
		switch name := name.(type) {
		case *syscall.SockaddrInet4:
			port = name.Port
		case *syscall.SockaddrInet6:
			port = name.Port
		}
		if port == 0 {
			return os.NewSyscallError("bind", syscall.Bind(fd, sockaddr(before)))
		}
		return nil
	})
}
