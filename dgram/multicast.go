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

// Multicast: groups, and where what is sent to them goes.

// SetMulticastTTL sets how many hops a message to a group may make, from 0 to 255; another number is
// syscall.EINVAL. Default: 1, this network. Node: socket.setMulticastTTL.
func (s *Socket) SetMulticastTTL(ttl int) error {
	const method = "SetMulticastTTL"
	return s.with(method, func(fd descriptor) error {
		if err := within(method, ttl, 0); err != nil {
			return err
		}
		if s.isIPv6() {
			return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, ttl)
		}
		return setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, byte(ttl))
	})
}

// SetMulticastLoopback says whether what is sent to a group reaches this machine too (on Windows: whether
// the socket receives such). Default: it does. Node: socket.setMulticastLoopback.
func (s *Socket) SetMulticastLoopback(on bool) error {
	return s.with("SetMulticastLoopback", func(fd descriptor) error {
		if s.isIPv6() {
			return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_LOOP, number(on))
		}
		return setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_LOOP, byte(number(on)))
	})
}

// SetMulticastInterface sets where messages to groups leave. iface is an address of the interface
// ("192.0.2.2"), the name of one ("eth0"), or, as in Node, "::%eth0" for IPv6; "0.0.0.0" or "::" is the
// system's choice, the default. What is none of these is syscall.EINVAL, and an address that no interface
// has syscall.EADDRNOTAVAIL. Node: socket.setMulticastInterface.
func (s *Socket) SetMulticastInterface(iface string) error {
	return s.with("SetMulticastInterface", func(fd descriptor) error {
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

// AddMembership joins a multicast group, so that what is sent to it, and to the port that the socket is
// bound to, is received. iface is where, as for SetMulticastInterface; "" is the system's choice. A socket
// that is not bound yet is bound first, to all addresses and a free port. A group that is none is
// syscall.EINVAL, and one that the socket is in already syscall.EADDRINUSE. Node: socket.addMembership.
func (s *Socket) AddMembership(group, iface string) error {
	return s.membership("AddMembership", true, "", group, iface)
}

// DropMembership leaves a group, as Close does too. For one that the socket is not in it returns
// syscall.EADDRNOTAVAIL. Node: socket.dropMembership.
func (s *Socket) DropMembership(group, iface string) error {
	return s.membership("DropMembership", false, "", group, iface)
}

// AddSourceSpecificMembership is AddMembership for what one sender sends to a group (232.0.0.0/8,
// ff3x::/96); the socket may add several senders. It is errors.ErrUnsupported on systems other than
// Linux, macOS, FreeBSD and Windows. Node: socket.addSourceSpecificMembership.
func (s *Socket) AddSourceSpecificMembership(source, group, iface string) error {
	return s.sourceMembership("AddSourceSpecificMembership", true, source, group, iface)
}

// DropSourceSpecificMembership undoes it. Node: socket.dropSourceSpecificMembership.
func (s *Socket) DropSourceSpecificMembership(source, group, iface string) error {
	return s.sourceMembership("DropSourceSpecificMembership", false, source, group, iface)
}

func (s *Socket) sourceMembership(method string, add bool, source, group, iface string) error {
	if source == "" {
		return fmt.Errorf("dgram: %s: %w", method, ErrMissingGroup)
	}
	return s.membership(method, add, source, group, iface)
}

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
	return s.with(method, func(fd descriptor) error {
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
	return fmt.Errorf("%q is no address of this family: %w", text, syscall.EINVAL)
}

// addressOf is the address that text is, of the socket's family.
func (s *Socket) addressOf(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Is4() == s.isIPv6() {
		return netip.Addr{}, badAddress(text)
	}
	return ip, nil
}

// ifaceAddr is a network interface as the system wants to be told: by an address of it for IPv4, by its
// number for IPv6.
type ifaceAddr struct {
	ip    netip.Addr
	index uint32
}

// interfaceOf finds the interface that text names. The zero number and the address 0.0.0.0 are the
// system's choice.
func (s *Socket) interfaceOf(text string) (at ifaceAddr, err error) {
	at.ip = netip.IPv4Unspecified()
	if text == "" {
		return at, nil
	}
	if i, err := net.InterfaceByName(text); err == nil {
		return s.named(i)
	}
	ip, err := s.addressOf(text)
	switch {
	case err != nil:
		return at, err
	case !s.isIPv6():
		at.ip = ip
		return at, nil
	case ip.Zone() != "":
		if at.index = zoneIndex(ip.Zone()); at.index == 0 {
			return at, fmt.Errorf("there is no network interface %q: %w", ip.Zone(), syscall.ENODEV)
		}
		return at, nil
	case ip.IsUnspecified():
		return at, nil
	}
	return s.having(ip)
}

func (s *Socket) named(i *net.Interface) (at ifaceAddr, err error) {
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
	return at, fmt.Errorf("the network interface %q has no IPv4 address: %w", i.Name, syscall.EADDRNOTAVAIL)
}

// having is the interface with that IPv6 address.
func (s *Socket) having(ip netip.Addr) (at ifaceAddr, err error) {
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
