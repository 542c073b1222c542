// Package evnet is Node's net event model for Go, over any net.Conn.
package evnet

import "net/netip"

// IsIP returns 4 or 6 for the text of an IP address of that family, and 0 for any other text. Node:
// net.isIP.
func IsIP(s string) int {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil || !plainZone(ip.Zone()):
		return 0
	case ip.Is4():
		return 4
	}
	return 6
}

// IsIPv4 reports whether s is the text of an IPv4 address. Node: net.isIPv4.
func IsIPv4(s string) bool { return IsIP(s) == 4 }

// IsIPv6 reports whether s is the text of an IPv6 address, IPv4-mapped ones included. Node:
// net.isIPv6.
func IsIPv6(s string) bool { return IsIP(s) == 6 }

// plainZone reports whether Node takes the zone too: netip takes any text.
func plainZone(zone string) bool {
	for _, c := range []byte(zone) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
