package evnet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// rule is one rule of a BlockList. Its addresses are all of 16 bytes, IPv4 ones in their IPv4-mapped
// form, and have no zone: equal rules match the same addresses.
type rule struct {
	kind     ruleKind
	v4       bool       // it was given as IPv4
	bits     uint8      // of the prefix; of an address, all 128
	from, to netip.Addr // of an address and a subnet, which need not be masked, from alone
}

type ruleKind uint8

const (
	ruleAddress ruleKind = iota
	ruleRange
	ruleSubnet
)

func (k ruleKind) String() string { return [...]string{"Address", "Range", "Subnet"}[k] }

// wide is the form of an address in which rules are kept and looked for.
func wide(ip netip.Addr) netip.Addr { return netip.AddrFrom16(ip.As16()) }

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
		why = "they are of two families"
	case wide(last).Less(wide(first)):
		why = "the first is above the last"
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

// net is what an address or a subnet matches.
func (r rule) net() netip.Prefix {
	net, _ := r.from.Prefix(int(r.bits))
	return net
}

// heading begins the text of a rule.
func (r rule) heading() string {
	if r.v4 {
		return r.kind.String() + ": IPv4 "
	}
	return r.kind.String() + ": IPv6 "
}

// String gives Node's text, which parseRule takes.
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

// parseRule takes the text of a rule, with its heading or without.
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

// parseBody reports false for what is no rule at all. A zone may hold any text, but no address that
// a rule is written with may hold a slash or a dash.
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
