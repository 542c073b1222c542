package dgram

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// What the system knows of a conn.

// localAddress is where a conn is bound, as the system tells it: it changes with Connect.
func localAddress(conn net.PacketConn) netip.AddrPort {
	at := named(conn, syscall.Getsockname)
	if !at.IsValid() {
		at = addrPort(conn.LocalAddr())
	}
	return at
}

// remoteAddress is the peer of a connected conn of UDP.
func remoteAddress(conn net.PacketConn) (netip.AddrPort, bool) {
	if _, ok := conn.(*net.UDPConn); !ok {
		return netip.AddrPort{}, false
	}
	at := named(conn, syscall.Getpeername)
	return at, at.IsValid()
}

func named(conn net.PacketConn, call func(descriptor) (syscall.Sockaddr, error)) (at netip.AddrPort) {
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

// networkOf is the family of a conn of UDP, or "".
func networkOf(conn net.PacketConn) string {
	switch at := named(conn, syscall.Getsockname); {
	case !isUDP(conn):
		return ""
	case at.Addr().Is4():
		return "udp4"
	case at.Addr().Is6():
		return "udp6"
	}
	return ""
}

func isUDP(conn net.PacketConn) bool {
	_, ok := conn.LocalAddr().(*net.UDPAddr)
	return ok
}

// addrPort is the IP address and port of any address, or the zero AddrPort.
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

func sockaddr(to netip.AddrPort) syscall.Sockaddr {
	if to.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &syscall.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: zoneIndex(to.Addr().Zone())}
}

func connectConn(conn net.PacketConn, to netip.AddrPort) error {
	if _, ok := conn.(*net.UDPConn); !ok {
		return fmt.Errorf("%T is no *net.UDPConn: %w", conn, errors.ErrUnsupported)
	}
	return onConn(conn, func(fd descriptor) error {
		return os.NewSyscallError("connect", syscall.Connect(fd, sockaddr(to)))
	})
}

// disconnectConn undoes it. Where that takes the port away too, which the system has chosen, the conn is
// bound to it again, so that it goes on receiving.
func disconnectConn(conn net.PacketConn, before netip.AddrPort) error {
	return onConn(conn, func(fd descriptor) error {
		if err := dissolve(fd, before); err != nil {
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
