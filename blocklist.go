package evnet

import (
	"cmp"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// BlockList is a set of rules that block IP addresses: single addresses, ranges and subnets. ServerOptions.BlockList
// refuses peers with it, SocketOptions.BlockList destinations. The zero value is an empty list, ready to use; a nil
// *BlockList blocks nothing. A BlockList must not be copied.
//
// An IPv4 address and its IPv4-mapped IPv6 form (::ffff:1.2.3.4) are the same address, in rules and in Check. An IPv6
// rule that contains ::ffff:0:0/96, such as ::/0, therefore blocks IPv4 too. A zone (fe80::1%eth0) is ignored: a rule
// applies to every interface.
//
// A rule that blocks an IPv4 address also blocks its NAT64 form with the well-known prefix (64:ff9b::1.2.3.4, RFC 6052)
// and its 6to4 network (2002:102:304::/48, RFC 3056). Both lead to the same host. For example, a rule for 127.0.0.0/8
// blocks [64:ff9b::7f00:1]. This does not apply in reverse: a rule for an address of these forms does not block the
// IPv4 address. In Node such an address needs its own rule.
//
// Other IPv6 forms of an IPv4 address need their own rules here too. A network's own NAT64 prefix (often within
// 64:ff9b:1::/48, RFC 8215) and ISATAP do not show where the IPv4 address is. Teredo is 2001::/32, and the deprecated
// IPv4-compatible addresses are ::2-::ffff:ffff.
//
// A rule that was added twice must be removed twice.
//
// Any goroutine may call any method at any time. One list may serve many servers and sockets: a change applies to every
// later Check. The list keeps copies of its arguments.
//
// Node: net.BlockList.
type BlockList struct {
	mu    sync.RWMutex
	rules ruleTable
}

// ruleTable finds the rules that block an address. It looks up addresses and subnets in a map, once for each prefix
// length in use, and compares ranges one by one.
type ruleTable struct {
	nets    map[netip.Prefix][]numbered // no element is empty
	lengths []prefixLength              // of the keys of nets
	ranges  []numbered
	size    int
	last    uint64
}

// numbered is a rule with its place in the order of addition.
type numbered struct {
	rule
	number uint64
}

type prefixLength struct{ bits, nets int }

// AddAddress adds a rule that blocks one address. It returns ErrInvalidAddress for an invalid address.
//
// Node: blockList.addAddress.
func (b *BlockList) AddAddress(ip netip.Addr) error { return b.add(addressRule(ip)) }

// AddRange adds a rule that blocks the addresses from first to last, both included, which must be of one family. It
// returns ErrInvalidAddress for an invalid address, and ErrInvalidRange for two families or a first address that is
// greater than the last. A long list of ranges is slow to check; prefer subnets.
//
// Node: blockList.addRange.
func (b *BlockList) AddRange(first, last netip.Addr) error { return b.add(rangeRule(first, last)) }

// AddSubnet adds a rule that blocks the addresses of a network. Its address need not be masked; Rules returns it as it
// was passed. AddSubnet returns ErrInvalidAddress for the zero Prefix, and ErrInvalidPrefix for a prefix length that
// the address does not have.
//
// Node: blockList.addSubnet.
func (b *BlockList) AddSubnet(network netip.Prefix) error { return b.add(subnetRule(network)) }

// Add adds a rule in text form: "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8", the same in IPv6, or a line of Rules,
// such as "Subnet: IPv4 10.0.0.0/8". It returns the errors of AddAddress, AddRange and AddSubnet, and ErrInvalidAddress
// for any other text.
//
// Node: blockList.addAddress, addRange, addSubnet.
func (b *BlockList) Add(text string) error { return b.add(parseRule(text)) }

func (b *BlockList) add(r rule, err error) error {
	if b == nil {
		return nilArgument("BlockList", "receiver")
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules.add(r)
	return nil
}

// RemoveAddress removes a rule that AddAddress added for the address, the newest if there are several, and reports
// whether there was one. Rules that block the address as part of a range or a subnet remain.
//
// Node: blockList.removeAddress.
func (b *BlockList) RemoveAddress(ip netip.Addr) bool { return b.remove(addressRule(ip)) }

// RemoveRange removes a rule that AddRange added with the same ends, the newest if there are several, and reports
// whether there was one.
//
// Node: blockList.removeRange.
func (b *BlockList) RemoveRange(first, last netip.Addr) bool {
	return b.remove(rangeRule(first, last))
}

// RemoveSubnet removes a rule that AddSubnet added for the same network, masked or not, the newest if there are
// several, and reports whether there was one.
//
// Node: blockList.removeSubnet.
func (b *BlockList) RemoveSubnet(network netip.Prefix) bool { return b.remove(subnetRule(network)) }

func (b *BlockList) remove(r rule, err error) bool {
	if b == nil || err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules.remove(r)
}

// Clear removes all rules.
//
// Node: blockList.clear.
func (b *BlockList) Clear() {
	if b != nil {
		b.replace(ruleTable{})
	}
}

func (b *BlockList) replace(rules ruleTable) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = rules
}

// Len returns the number of rules.
//
// Node: blockList.size.
func (b *BlockList) Len() int {
	if b == nil {
		return 0
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.rules.size
}

// Check reports whether a rule blocks the address, or the IPv4 address within a NAT64 or 6to4 address (see BlockList).
// The zero Addr is never blocked. The cost grows with the number of ranges and of different prefix lengths, but
// not with the number of addresses and subnets.
//
// If the list is used as a list of allowed addresses, a rule for an IPv4 address allows its NAT64 and 6to4 forms too.
//
// Node: blockList.check.
func (b *BlockList) Check(ip netip.Addr) bool {
	if b == nil || !ip.IsValid() {
		return false
	}
	bytes := ip.As16()
	ip = netip.AddrFrom16(bytes)
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.rules.match(ip) {
		return true
	}
	v4, ok := embedded(&bytes)
	return ok && b.rules.match(v4)
}

// Rules returns the rules as Node writes them, newest first: "Address: IPv4 10.0.0.1", "Range: IPv4 10.0.0.1-10.0.0.9",
// "Subnet: IPv6 2001:db8::/32". The caller owns the slice.
//
// Node: blockList.rules.
func (b *BlockList) Rules() []string {
	if b == nil {
		return nil
	}
	b.mu.RLock()
	all := b.rules.list()
	b.mu.RUnlock()
	slices.SortFunc(all, func(x, y numbered) int { return cmp.Compare(y.number, x.number) })
	texts := make([]string, len(all))
	for i, r := range all {
		texts[i] = r.String()
	}
	return texts
}

// String returns the result of Rules, one rule per line.
func (b *BlockList) String() string { return strings.Join(b.Rules(), "\n") }

// MarshalJSON encodes the result of Rules as an array.
//
// Node: blockList.toJSON.
func (b *BlockList) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]string{}, b.Rules()...))
}

// UnmarshalJSON replaces all rules in one step. data is an array of texts, newest first, as MarshalJSON writes them or
// Add accepts them. If a text is not a rule, the error contains it and the list remains unchanged. null changes nothing.
//
// Node: blockList.fromJSON, which adds to the list and ignores a text that is not a rule.
func (b *BlockList) UnmarshalJSON(data []byte) error {
	if b == nil {
		return nilArgument("BlockList", "receiver")
	}
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	if texts == nil {
		return nil
	}
	var rules ruleTable
	for _, text := range slices.Backward(texts) {
		r, err := parseRule(text)
		if err != nil {
			return err
		}
		rules.add(r)
	}
	b.replace(rules)
	return nil
}

// blocksPeer reports whether the list blocks the peer of an accepted conn. A peer without an IP address is never
// blocked. No lock is held, because the type of remote may be the user's.
func (b *BlockList) blocksPeer(remote net.Addr) bool {
	return b != nil && b.Check(ipOf(remote))
}

func (t *ruleTable) add(r rule) {
	t.last++
	t.size++
	n := numbered{r, t.last}
	if r.kind == ruleRange {
		t.ranges = append(t.ranges, n)
		return
	}
	net := r.net()
	if t.nets == nil {
		t.nets = make(map[netip.Prefix][]numbered)
	}
	same := t.nets[net]
	if same == nil {
		t.countLength(net.Bits(), 1)
	}
	t.nets[net] = append(same, n)
}

func (t *ruleTable) remove(r rule) bool {
	if r.kind == ruleRange {
		var found bool
		t.ranges, found = removeNewest(t.ranges, func(n numbered) bool { return n.from == r.from && n.to == r.to })
		if found {
			t.size--
		}
		return found
	}
	net := r.net()
	same, found := removeNewest(t.nets[net], func(n numbered) bool { return n.kind == r.kind })
	if !found {
		return false
	}
	t.size--
	if len(same) > 0 {
		t.nets[net] = same
	} else {
		delete(t.nets, net)
		t.countLength(net.Bits(), -1)
	}
	return true
}

// removeNewest removes the last rule that matches.
func removeNewest(rules []numbered, matches func(numbered) bool) ([]numbered, bool) {
	for i, n := range slices.Backward(rules) {
		if matches(n) {
			return slices.Delete(rules, i, i+1), true
		}
	}
	return rules, false
}

// countLength updates lengths after a key of nets was added or removed.
func (t *ruleTable) countLength(bits, by int) {
	i := slices.IndexFunc(t.lengths, func(l prefixLength) bool { return l.bits == bits })
	if i < 0 {
		t.lengths = append(t.lengths, prefixLength{bits, by})
		return
	}
	if t.lengths[i].nets += by; t.lengths[i].nets == 0 {
		t.lengths = slices.Delete(t.lengths, i, i+1)
	}
}

func (t *ruleTable) match(ip netip.Addr) bool {
	for _, l := range t.lengths {
		net, _ := ip.Prefix(l.bits)
		if _, ok := t.nets[net]; ok {
			return true
		}
	}
	for i := range t.ranges {
		if r := &t.ranges[i]; !ip.Less(r.from) && !r.to.Less(ip) {
			return true
		}
	}
	return false
}

func (t *ruleTable) list() []numbered {
	all := slices.Clone(t.ranges)
	for _, same := range t.nets {
		all = append(all, same...)
	}
	return all
}
