package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxV1     = 107      // the longest header of version 1, with its line end
	fixedV2   = 16       // the part of a version 2 header before the addresses
	maxHeader = 16 + 520 // of version 2: room for addresses and a few extensions (TLVs)
)

var (
	prefixV1  = []byte("PROXY ")
	prefixV2  = []byte("\r\n\r\n\x00\r\nQUIT\n")
	errHeader = errors.New("malformed PROXY protocol header")
)

// splitHeader is a bufio.SplitFunc whose token is the header. It rejects data that cannot become one.
func splitHeader(data []byte, _ bool) (advance int, token []byte, err error) {
	size := 0 // unknown
	switch {
	case bytes.HasPrefix(data, prefixV1):
		line := data[:min(len(data), maxV1)]
		if end := bytes.Index(line, []byte("\r\n")); end >= 0 {
			size = end + 2
		} else if len(line) == maxV1 {
			return 0, nil, errHeader
		}
	case bytes.HasPrefix(data, prefixV2):
		if len(data) >= fixedV2 {
			size = fixedV2 + int(binary.BigEndian.Uint16(data[14:]))
		}
		if size > maxHeader {
			return 0, nil, errHeader
		}
	case !bytes.HasPrefix(prefixV1, data) && !bytes.HasPrefix(prefixV2, data):
		return 0, nil, errHeader
	}
	if size == 0 || len(data) < size {
		return 0, nil, nil // more is needed
	}
	return size, data[:size], nil
}

// clientOf returns the client's address in a header, or the zero value if the header has none.
func clientOf(header []byte) (netip.AddrPort, error) {
	if bytes.HasPrefix(header, prefixV1) {
		return clientOfV1(strings.TrimSuffix(string(header), "\r\n"))
	}
	return clientOfV2(header[12], header[13], header[fixedV2:])
}

// clientOfV1 parses a line such as "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443": source and destination.
func clientOfV1(line string) (client netip.AddrPort, err error) {
	fields := strings.Split(line, " ")
	switch {
	case fields[1] == "UNKNOWN": // whatever follows is to be ignored
		return client, nil
	case len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6":
		return client, errHeader
	}
	for _, i := range []int{3, 2} { // the client's address is the last to be parsed
		ip, err := netip.ParseAddr(fields[i])
		port, err2 := strconv.ParseUint(fields[i+2], 10, 16)
		if err != nil || err2 != nil || ip.Zone() != "" || ip.Is4() != (fields[1] == "TCP4") {
			return netip.AddrPort{}, errHeader
		}
		client = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return client, nil
}

// clientOfV2 parses the binary addresses. TLVs may follow them, and are ignored.
func clientOfV2(command, family byte, body []byte) (client netip.AddrPort, err error) {
	switch {
	case command == 0x20: // version 2, LOCAL: the proxy itself, for a health check
		return client, nil
	case command != 0x21: // version 2, PROXY
		return client, errHeader
	case family == 0x00: // unspecified
		return client, nil
	case family == 0x11 && len(body) >= 12: // TCP over IPv4
		ip := netip.AddrFrom4([4]byte(body))
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(body[8:])), nil
	case family == 0x21 && len(body) >= 36: // TCP over IPv6
		ip := netip.AddrFrom16([16]byte(body))
		return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	}
	return client, errHeader // UDP and Unix sockets too: this service is behind neither
}
