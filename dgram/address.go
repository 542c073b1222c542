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

// Addresses: texts of them, families, and zones.

// splitAddress takes host:port apart. The port may be the name of a service.
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

// literal is the address that host is the text of. An empty host is fallback.
func literal(host string, fallback netip.Addr) (ip netip.Addr, ok bool) {
	if host == "" {
		return fallback, true
	}
	ip, err := netip.ParseAddr(host)
	return ip, err == nil
}

func (s *Socket) loopback() netip.Addr {
	if s.network == "udp4" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

func (s *Socket) wildcard() netip.Addr {
	if s.network == "udp4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// fits is why ip cannot be used on the socket: a family has its own addresses, and those of IPv4 are
// ::ffff:1.2.3.4 for udp6.
func (s *Socket) fits(ip netip.Addr) error {
	if !ip.IsValid() {
		return fmt.Errorf("no address: %w", syscall.EINVAL)
	}
	if s.network != "" && ip.Is4() != (s.network == "udp4") {
		return fmt.Errorf("%s is no address of %s: %w", ip, s.network, syscall.EINVAL)
	}
	return nil
}

// lookup asks the resolver for an address of host that fits. It blocks.
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
		if s.fits(ip) == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// zones are the names of network interfaces, which a link-local address comes with.
var zones struct {
	sync.Mutex
	byIndex map[uint32]string
	byName  map[string]uint32
	until   time.Time
}

const zonesLife = time.Minute // interfaces come and go

// loadZones brings the tables up to date, if they are old or the caller has missed something. The lock
// is held.
func loadZones(missed bool) {
	if now := time.Now(); zones.byIndex == nil || now.After(zones.until) || missed && now.Add(zonesLife-time.Second).After(zones.until) {
		interfaces, _ := net.Interfaces()
		zones.byIndex, zones.byName = map[uint32]string{}, map[string]uint32{}
		for _, i := range interfaces {
			zones.byIndex[uint32(i.Index)], zones.byName[i.Name] = i.Name, uint32(i.Index)
		}
		zones.until = now.Add(zonesLife)
	}
}

// zoneName is the name of the interface with that index, or the index where there is no such name.
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

// zoneIndex is its opposite. It is 0 for no zone, and for one that there is not.
func zoneIndex(name string) uint32 {
	if name == "" {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	zones.Lock()
	defer zones.Unlock()
	for _, missed := range []bool{false, true} {
		loadZones(missed)
		if index, ok := zones.byName[name]; ok {
			return index
		}
	}
	return 0
}
