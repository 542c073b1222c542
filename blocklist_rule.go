package evnet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// rule is one rule of a BlockList. Its addresses are in the form that wide returns, so that equal rules match the same
// addresses.
type rule struct {
	kind     ruleKind
	v4       bool       // was specified as IPv4
	bits     uint8      // prefix length; 128 for an address
	from, to netip.Addr // to applies to ranges only; from of a subnet need not be masked
}

type ruleKind uint8

const (
	ruleAddress ruleKind = iota
	ruleRange
	ruleSubnet
)

func (k ruleKind) String() string { return [...]string{"Address", "Range", "Subnet"}[k] }

// wide returns the form of an address in which rules are stored and looked up: 16 bytes, IPv4-mapped for IPv4, without
// a zone.
func wide(ip netip.Addr) netip.Addr { return netip.AddrFrom16(ip.As16()) }

// embedded returns the IPv4 address, in its wide form, within an address of NAT64's well-known prefix or of 6to4. For
// these forms a standard defines where the IPv4 address is, and networks forward to it.
func embedded(ip *[16]byte) (v4 netip.Addr, ok bool) {
	switch {
	case ip[0] == 0x20 && ip[1] == 0x02: // 2002:V4ADDR::/48, RFC 3056
		v4 = netip.AddrFrom4([4]byte(ip[2:6]))
	case ip[1] == 0x64 && [12]byte(ip[:12]) == [12]byte{1: 0x64, 2: 0xff, 3: 0x9b}: // 64:ff9b::/96, RFC 6052
		v4 = netip.AddrFrom4([4]byte(ip[12:]))
	default:
		return netip.Addr{}, false
	}
	return wide(v4), true
}

func addressRule(ip netip.Addr) (rule, error) {
	if !ip.IsValid() {
		return rule{}, fmt.Errorf("%w: the zero Addr", ErrInvalidAddress)
	}
	return rule{kind: ruleAddress, v4: ip.Is4(), bits: 128, from: wide(ip)}, nil
}

func rangeRule(first, last netip.Addr) (rule, error) {
	why := ""
	switch {
	case !first.IsValid() || !last.IsValid():
		return rule{}, fmt.Errorf("%w: the zero Addr", ErrInvalidAddress)
	case first.Is4() != last.Is4():
		why = "the addresses have different families"
	case wide(last).Less(wide(first)):
		why = "the first address is above the last"
	default:
		return rule{kind: ruleRange, v4: first.Is4(), from: wide(first), to: wide(last)}, nil
	}
	return rule{}, fmt.Errorf("%w: %s-%s: %s", ErrInvalidRange, first, last, why)
}

func subnetRule(network netip.Prefix) (rule, error) {
	ip, bits := network.Addr(), network.Bits()
	switch {
	case !ip.IsValid():
		return rule{}, fmt.Errorf("%w: the zero Prefix", ErrInvalidAddress)
	case bits < 0:
		return rule{}, fmt.Errorf("%w: %s has 0 to %d bits", ErrInvalidPrefix, ip, ip.BitLen())
	case ip.Is4():
		bits += 128 - 32
	}
	return rule{kind: ruleSubnet, v4: ip.Is4(), bits: uint8(bits), from: wide(ip)}, nil
}

// net returns the network that an address or a subnet rule matches.
func (r rule) net() netip.Prefix {
	net, _ := r.from.Prefix(int(r.bits))
	return net
}

// heading returns the beginning of a rule's text.
func (r rule) heading() string {
	if r.v4 {
		return r.kind.String() + ": IPv4 "
	}
	return r.kind.String() + ": IPv6 "
}

// String returns Node's text of the rule, which parseRule accepts.
func (r rule) String() string {
	from, to, bits := r.from, r.to, int(r.bits)
	if r.v4 {
		from, to, bits = from.Unmap(), to.Unmap(), bits-(128-32)
	}
	text := r.heading() + from.String()
	switch r.kind {
	case ruleRange:
		text += "-" + to.String()
	case ruleSubnet:
		text += "/" + strconv.Itoa(bits)
	}
	return text
}

// parseRule parses the text of a rule, with or without its heading.
func parseRule(text string) (rule, error) {
	i := strings.LastIndexByte(text, ' ') + 1
	heading, body := text[:i], text[i:]
	r, ok, err := parseBody(body)
	switch {
	case err != nil:
		return rule{}, fmt.Errorf("%w (rule %q)", err, text)
	case !ok, heading != "" && heading != r.heading():
		return rule{}, fmt.Errorf("%w, nor a range or subnet: rule %q", ErrInvalidAddress, text)
	}
	return r, nil
}

// parseBody parses the text of a rule without its heading. ok is false if the text is not a rule. A zone that contains
// a slash or a dash is not supported.
func parseBody(text string) (r rule, ok bool, err error) {
	if address, length, ok := strings.Cut(text, "/"); ok {
		ip, err := netip.ParseAddr(address)
		bits, bad := strconv.Atoi(length)
		if err != nil || bad != nil || strconv.Itoa(bits) != length {
			return rule{}, false, nil
		}
		r, err := subnetRule(netip.PrefixFrom(ip, bits))
		return r, true, err
	}
	if first, last, ok := strings.Cut(text, "-"); ok {
		from, err := netip.ParseAddr(first)
		to, bad := netip.ParseAddr(last)
		if err != nil || bad != nil {
			return rule{}, false, nil
		}
		r, err := rangeRule(from, to)
		return r, true, err
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return rule{}, false, nil
	}
	r, err = addressRule(ip)
	return r, true, err
}
