package dgram

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
)

// This file has the options of multicast and the memberships of groups.

// SetMulticastTTL sets the maximum number of hops of a message to a group, from 0 to 255. Another number is
// syscall.EINVAL. Default: 1, the local network.
//
// Node: socket.setMulticastTTL.
func (s *Socket) SetMulticastTTL(ttl int) error {
	const method = "SetMulticastTTL"
	return s.withDescriptor(method, func(fd descriptor) error {
		if err := checkTTL(method, ttl, 0); err != nil {
			return err
		}
		if s.isIPv6() {
			return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, ttl)
		}
		return setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, byte(ttl))
	})
}

// SetMulticastLoopback sets whether messages that the socket sends to a group also reach members on this
// machine. On Windows it sets whether the socket receives messages that were sent on this machine. Default:
// on.
//
// Node: socket.setMulticastLoopback.
func (s *Socket) SetMulticastLoopback(on bool) error {
	return s.withDescriptor("SetMulticastLoopback", func(fd descriptor) error {
		if s.isIPv6() {
			return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_LOOP, boolInt(on))
		}
		return setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_LOOP, byte(boolInt(on)))
	})
}

// SetMulticastInterface sets the network interface for messages to groups. iface is an address of the
// interface ("192.0.2.2"), its name ("eth0"), or, as in Node, "::%eth0" for IPv6. With "0.0.0.0" or "::", the
// default, the kernel chooses the interface.
//
// Any other text, and a zone that names no interface, is syscall.EINVAL. An address that no interface has is
// syscall.EADDRNOTAVAIL.
//
// Node: socket.setMulticastInterface.
func (s *Socket) SetMulticastInterface(iface string) error {
	return s.withDescriptor("SetMulticastInterface", func(fd descriptor) error {
		at, err := s.interfaceOf(iface)
		if err == nil && iface == "" {
			err = badAddress(iface)
		}
		switch {
		case err != nil:
			return err
		case s.isIPv6():
			return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_IF, int(at.index))
		}
		a := at.ip.As4()
		return setBytes(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, a[:])
	})
}

// AddMembership joins a multicast group: the socket then receives messages to the group and the port to which
// the socket is bound. iface is the interface, as for SetMulticastInterface; with "" the kernel chooses it. An
// unbound socket is bound first, to all addresses and a free port.
//
// An invalid group is syscall.EINVAL. A group that the socket has joined already is syscall.EADDRINUSE.
//
// Node: socket.addMembership.
func (s *Socket) AddMembership(group, iface string) error {
	return s.membership("AddMembership", true, "", group, iface)
}

// DropMembership leaves a group, as Close does for all groups. For a group that the socket has not joined it
// returns syscall.EADDRNOTAVAIL.
//
// Node: socket.dropMembership.
func (s *Socket) DropMembership(group, iface string) error {
	return s.membership("DropMembership", false, "", group, iface)
}

// AddSourceSpecificMembership is AddMembership for the messages of one sender to a group (232.0.0.0/8,
// ff3x::/96). The socket may add several senders. It returns errors.ErrUnsupported on systems other than
// Linux, macOS, FreeBSD and Windows.
//
// Node: socket.addSourceSpecificMembership.
func (s *Socket) AddSourceSpecificMembership(source, group, iface string) error {
	return s.sourceMembership("AddSourceSpecificMembership", true, source, group, iface)
}

// DropSourceSpecificMembership undoes AddSourceSpecificMembership.
//
// Node: socket.dropSourceSpecificMembership.
func (s *Socket) DropSourceSpecificMembership(source, group, iface string) error {
	return s.sourceMembership("DropSourceSpecificMembership", false, source, group, iface)
}

func (s *Socket) sourceMembership(method string, add bool, source, group, iface string) error {
	if source == "" {
		return fmt.Errorf("dgram: %s: %w", method, ErrMissingGroup)
	}
	return s.membership(method, add, source, group, iface)
}

// membership joins or leaves a group, of all senders if source is "".
func (s *Socket) membership(method string, add bool, source, group, iface string) error {
	if s.closed.Load() {
		return fmt.Errorf("dgram: %s: %w", method, ErrNotRunning)
	}
	if group == "" {
		return fmt.Errorf("dgram: %s: %w", method, ErrMissingGroup)
	}
	if err := s.ensureBound(); err != nil {
		return fmt.Errorf("dgram: %s: %w", method, err)
	}
	return s.withDescriptor(method, func(fd descriptor) error {
		to, err := s.addressOf(group)
		if err != nil {
			return err
		}
		at, err := s.interfaceOf(iface)
		if err != nil {
			return err
		}
		if zone := to.Zone(); zone != "" && at.index == 0 {
			at.index = zoneIndex(zone)
		}
		if source == "" {
			return s.join(fd, add, to, at)
		}
		from, err := s.addressOf(source)
		if err != nil {
			return err
		}
		return s.joinSource(fd, add, from, to, at)
	})
}

func (s *Socket) join(fd descriptor, add bool, group netip.Addr, at ifaceAddr) error {
	if s.isIPv6() {
		option := syscall.IPV6_LEAVE_GROUP
		if add {
			option = syscall.IPV6_JOIN_GROUP
		}
		g := group.As16()
		return setBytes(fd, syscall.IPPROTO_IPV6, option, binary.NativeEndian.AppendUint32(g[:], at.index))
	}
	option := syscall.IP_DROP_MEMBERSHIP
	if add {
		option = syscall.IP_ADD_MEMBERSHIP
	}
	g, i := group.As4(), at.ip.As4()
	return setBytes(fd, syscall.IPPROTO_IP, option, append(g[:], i[:]...))
}

func (s *Socket) joinSource(fd descriptor, add bool, source, group netip.Addr, at ifaceAddr) error {
	options, ok := sourceOptionsOf[runtime.GOOS]
	if !ok {
		return fmt.Errorf("source-specific multicast: %w", errors.ErrUnsupported)
	}
	if s.isIPv6() {
		option := options.drop6
		if add {
			option = options.add6
		}
		return setBytes(fd, syscall.IPPROTO_IPV6, option, sourceRequest6(group, source, at.index))
	}
	option := options.drop4
	if add {
		option = options.add4
	}
	return setBytes(fd, syscall.IPPROTO_IP, option, sourceRequest4(group, source, at.ip))
}

func badAddress(text string) error {
	return fmt.Errorf("%q is not an address of the socket's family: %w", text, syscall.EINVAL)
}

// addressOf parses an address of the socket's family.
func (s *Socket) addressOf(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Is4() == s.isIPv6() {
		return netip.Addr{}, badAddress(text)
	}
	return ip, checkZone(ip)
}

// ifaceAddr identifies a network interface to the kernel: by one of its addresses for IPv4, by its index for
// IPv6.
type ifaceAddr struct {
	ip    netip.Addr
	index uint32
}

// interfaceOf returns the interface that text identifies. With the index 0, and with the address 0.0.0.0, the
// kernel chooses it.
func (s *Socket) interfaceOf(text string) (at ifaceAddr, err error) {
	at.ip = netip.IPv4Unspecified()
	if text == "" {
		return at, nil
	}
	if i, err := net.InterfaceByName(text); err == nil {
		return s.identify(i)
	}
	ip, err := s.addressOf(text)
	switch {
	case err != nil:
		return at, err
	case !s.isIPv6():
		at.ip = ip
		return at, nil
	case ip.Zone() != "":
		at.index = zoneIndex(ip.Zone())
		return at, nil
	case ip.IsUnspecified():
		return at, nil
	}
	return interfaceWith(ip)
}

// identify returns the ifaceAddr of an interface.
func (s *Socket) identify(i *net.Interface) (at ifaceAddr, err error) {
	at = ifaceAddr{netip.IPv4Unspecified(), uint32(i.Index)}
	if s.isIPv6() {
		return at, nil
	}
	addrs, err := i.Addrs()
	if err != nil {
		return at, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			at.ip = p.Addr()
			return at, nil
		}
	}
	return at, fmt.Errorf("network interface %q has no IPv4 address: %w", i.Name, syscall.EADDRNOTAVAIL)
}

// interfaceWith returns the interface with that IPv6 address.
func interfaceWith(ip netip.Addr) (at ifaceAddr, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return at, err
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			text, _, _ := strings.Cut(a.String(), "/")
			if has, err := netip.ParseAddr(text); err == nil && has == ip {
				return ifaceAddr{index: uint32(i.Index)}, nil
			}
		}
	}
	return at, fmt.Errorf("no network interface has the address %s: %w", ip, syscall.EADDRNOTAVAIL)
}
