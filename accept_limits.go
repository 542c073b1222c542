package evnet

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"evnet/internal/ratelimit"
)

// The limits of a server on accepted connections.

// DropReason names the limit of ServerOptions that a dropped connection exceeds.
type DropReason uint8

// The limits. A server checks DropPerAddress first, then DropMaxConnections, then DropRate.
const (
	DropMaxConnections DropReason = iota // MaxConnections, or SetMaxConnections
	DropPerAddress                       // MaxConnectionsPerAddress
	DropRate                             // MaxConnectionRate
)

// String returns the name of the option that sets the limit, such as "MaxConnections".
func (r DropReason) String() string {
	names := [...]string{"MaxConnections", "MaxConnectionsPerAddress", "MaxConnectionRate"}
	if int(r) >= len(names) {
		return fmt.Sprintf("DropReason(%d)", uint8(r))
	}
	return names[r]
}

// addressCount is the number of open accepted sockets of a peer address.
type addressCount struct {
	address netip.Addr
	open    int
}

// newRate returns the token bucket of MaxConnectionRate. It allows a burst of as many connections as in one second. A
// negative rate gets the zero Bucket, which allows none.
func newRate(rate int) ratelimit.Bucket {
	if rate <= 0 {
		return ratelimit.Bucket{}
	}
	return ratelimit.NewBucket(rate, rate)
}

// peerAddress returns the IP address of the peer of an accepted conn, as MaxConnectionsPerAddress counts it. It is the
// zero Addr if there is none, or if the option is off. No lock is held, because the type of remote may be the user's.
func (s *Server) peerAddress(remote net.Addr) netip.Addr {
	if s.opts.MaxConnectionsPerAddress == 0 {
		return netip.Addr{}
	}
	return countedAs(ipOf(remote))
}

// countedAs returns the address that MaxConnectionsPerAddress counts for ip: an IPv4 address itself, and the /64 network
// of an IPv6 address, because a single host usually gets a whole /64.
func countedAs(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap(); ip.Is6() {
		network, _ := ip.Prefix(64) // without the zone
		return network.Addr()
	}
	return ip
}

// ipOf returns the IP address of a network address of any kind, the zero Addr if it has none.
func ipOf(addr net.Addr) netip.Addr {
	switch addr := addr.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return addr.AddrPort().Addr()
	default:
		if strings.HasPrefix(addr.Network(), "unix") {
			return netip.Addr{} // a path may look like anything
		}
		at, _ := netip.ParseAddrPort(addr.String())
		return at.Addr()
	}
}

// exceedsLocked reports whether one more connection of the peer exceeds a limit, and which. It checks the rate last, so
// that the rate counts only connections that are served: peers that exceed another limit do not use it up.
func (s *Server) exceedsLocked(peer netip.Addr) (DropReason, bool) {
	if limit := s.opts.MaxConnectionsPerAddress; peer.IsValid() && limit != 0 {
		open := 0
		if from := s.addresses[peer]; from != nil {
			open = from.open
		}
		if open >= limit {
			return DropPerAddress, true
		}
	}
	if s.max < 0 || s.max > 0 && s.count >= s.max {
		return DropMaxConnections, true
	}
	if s.opts.MaxConnectionRate != 0 && !s.rate.Take(time.Now()) {
		return DropRate, true
	}
	return 0, false
}

// countLocked counts an accepted socket as open.
func (s *Server) countLocked(c *Socket, peer netip.Addr) {
	c.active = true
	s.count++
	if !peer.IsValid() {
		return
	}
	from := s.addresses[peer]
	if from == nil {
		from = &addressCount{address: peer}
		if s.addresses == nil {
			s.addresses = make(map[netip.Addr]*addressCount)
		}
		s.addresses[peer] = from
	}
	from.open++
	c.from = from
}

// uncountLocked undoes countLocked. It may be called again.
func (s *Server) uncountLocked(c *Socket) {
	if !c.active {
		return
	}
	c.active = false
	s.count--
	from := c.from
	if from == nil {
		return
	}
	c.from = nil
	if from.open--; from.open > 0 {
		return
	}
	delete(s.addresses, from.address)
	if len(s.addresses) == 0 {
		s.addresses = nil // because a map never releases memory
	}
}
