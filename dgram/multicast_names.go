package dgram

import (
	"encoding/binary"
	"net/netip"
	"runtime"
)

// sourceOptions are the options of source-specific multicast, which package syscall does not define.
type sourceOptions struct {
	add4, drop4 int // IP_ADD_SOURCE_MEMBERSHIP
	add6, drop6 int // MCAST_JOIN_SOURCE_GROUP
}

// sourceOptionsOf has the options of each operating system that supports them.
var sourceOptionsOf = map[string]sourceOptions{
	"linux":   {39, 40, 46, 47},
	"android": {39, 40, 46, 47},
	"darwin":  {70, 71, 82, 83},
	"ios":     {70, 71, 82, 83},
	"freebsd": {70, 71, 82, 83},
	"windows": {15, 16, 45, 46},
}

// sourceRequest4 returns the struct ip_mreq_source of the operating system.
func sourceRequest4(group, source, iface netip.Addr) []byte {
	g, s, i := group.As4(), source.As4(), iface.As4()
	if runtime.GOOS == "linux" || runtime.GOOS == "android" {
		s, i = i, s // the interface is the second field
	}
	return append(append(g[:], s[:]...), i[:]...)
}

// sourceRequest6 returns the struct group_source_req: the index of the interface, and two addresses in fields of
// 128 bytes each.
func sourceRequest6(group, source netip.Addr, iface uint32) []byte {
	first := 8
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" || runtime.GOARCH == "386" || runtime.GOARCH == "arm" ||
		runtime.GOARCH == "mips" || runtime.GOARCH == "mipsle" {
		first = 4 // the alignment of the addresses is 4 there, not 8
	}
	request := make([]byte, first+2*128)
	binary.NativeEndian.PutUint32(request, iface)
	putSockaddr6(request[first:], group)
	putSockaddr6(request[first+128:], source)
	return request
}

// putSockaddr6 writes a struct sockaddr_in6 without port, flow label and zone.
func putSockaddr6(p []byte, ip netip.Addr) {
	switch runtime.GOOS {
	case "linux", "android":
		binary.NativeEndian.PutUint16(p, 10)
	case "windows":
		binary.NativeEndian.PutUint16(p, 23)
	case "freebsd":
		p[0], p[1] = 28, 28
	default:
		p[0], p[1] = 28, 30
	}
	a := ip.As16()
	copy(p[8:], a[:])
}
