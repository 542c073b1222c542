package dgram

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// This file parses addresses and handles their families and zones.

// splitAddress splits host:port. The port may be the name of a service.
func splitAddress(address string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrBadPort, err)
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err == nil {
		return host, uint16(n), nil
	}
	if errors.Is(err, strconv.ErrRange) || service == "" {
		return "", 0, fmt.Errorf("%w: %q", ErrBadPort, service)
	}
	known, err := net.LookupPort("udp", service)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrBadPort, err)
	}
	return host, uint16(known), nil
}

// literal parses host as an IP address. For an empty host it returns fallback. ok is false if host is a name.
func literal(host string, fallback netip.Addr) (ip netip.Addr, ok bool) {
	if host == "" {
		return fallback, true
	}
	ip, err := netip.ParseAddr(host)
	return ip, err == nil
}

// loopback returns the loopback address of the socket's family.
func (s *Socket) loopback() netip.Addr {
	if s.network == "udp4" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// wildcard returns the address of the socket's family that stands for all addresses.
func (s *Socket) wildcard() netip.Addr {
	if s.network == "udp4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// checkAddress returns why ip cannot be used on the socket, or nil. ip must have the family of the socket. On udp6 an IPv4
// address has the form ::ffff:1.2.3.4. A zone must be an interface of this machine.
func (s *Socket) checkAddress(ip netip.Addr) error {
	if !ip.IsValid() {
		return fmt.Errorf("missing address: %w", syscall.EINVAL)
	}
	if s.network != "" && ip.Is4() != (s.network == "udp4") {
		return fmt.Errorf("%s is not an address of %s: %w", ip, s.network, syscall.EINVAL)
	}
	if s.network != "" {
		return checkZone(ip)
	}
	return nil
}

// checkZone returns syscall.EINVAL if the zone of ip is neither the name nor the index of a network interface. The kernel
// would ignore a name, which gets the index 0.
func checkZone(ip netip.Addr) error {
	if zone := ip.Zone(); zone != "" && !isZone(zone) {
		return fmt.Errorf("no network interface %q: %w", zone, syscall.EINVAL)
	}
	return nil
}

// lookup resolves host to an address of the socket's family. It blocks.
func (s *Socket) lookup(ctx context.Context, host string) (netip.Addr, error) {
	network := "ip6"
	if s.network == "udp4" {
		network = "ip4"
	}
	ips, err := s.opts.Resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range ips {
		if s.network == "udp4" {
			ip = ip.Unmap()
		}
		if s.checkAddress(ip) == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// zones caches the names and indexes of network interfaces, which are the zones of link-local addresses.
var zones struct {
	sync.Mutex
	byIndex map[uint32]string
	byName  map[string]uint32
	until   time.Time
}

const zonesTTL = time.Minute // because interfaces are added and removed

// loadZones reloads the cache if it has expired. If the caller has missed an entry, it also reloads a cache that is
// older than a second. The lock is held.
func loadZones(missed bool) {
	if now := time.Now(); zones.byIndex == nil || now.After(zones.until) || missed && now.Add(zonesTTL-time.Second).After(zones.until) {
		interfaces, _ := net.Interfaces()
		zones.byIndex, zones.byName = map[uint32]string{}, map[string]uint32{}
		for _, i := range interfaces {
			zones.byIndex[uint32(i.Index)], zones.byName[i.Name] = i.Name, uint32(i.Index)
		}
		zones.until = now.Add(zonesTTL)
	}
}

// zoneName returns the name of the interface with that index. If there is none, it returns the index as text.
func zoneName(index uint32) string {
	zones.Lock()
	defer zones.Unlock()
	for _, missed := range []bool{false, true} {
		loadZones(missed)
		if name, ok := zones.byIndex[index]; ok {
			return name
		}
	}
	return strconv.FormatUint(uint64(index), 10)
}

// zoneIndex returns the index of the interface with that name, which may also be an index as text. It returns 0 for an
// empty name, and for an interface that does not exist.
func zoneIndex(name string) uint32 {
	index, _ := findZone(name)
	return index
}

// isZone reports whether there is an interface with that name, or with that index as text.
func isZone(name string) bool {
	_, found := findZone(name)
	return found
}

// findZone returns the index of an interface, and whether it exists. An index as text is returned in either case.
func findZone(name string) (index uint32, found bool) {
	if name == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 32)
	isIndex := err == nil
	index = uint32(n)
	zones.Lock()
	defer zones.Unlock()
	for _, missed := range []bool{false, true} {
		loadZones(missed)
		if isIndex {
			_, found = zones.byIndex[index]
		} else {
			index, found = zones.byName[name]
		}
		if found {
			return index, true
		}
	}
	return index, false
}
