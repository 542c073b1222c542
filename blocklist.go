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

// BlockList is a set of rules that say which IP addresses to refuse: single addresses, ranges and
// subnets. ServerOptions.BlockList refuses peers with it, SocketOptions.BlockList destinations. The
// zero value is an empty list, ready to use; a nil *BlockList blocks nothing. It must not be copied.
//
// Any goroutine may call any method at any time, and one list may serve many servers and sockets: a
// change counts from the next question on. Nothing given to it is kept but values.
//
// An IPv4 address and its IPv4-mapped IPv6 form (::ffff:1.2.3.4) are the same address here, however
// the rule or the question spells it. So an IPv6 rule that takes in ::ffff:0:0/96, as ::/0 does,
// blocks IPv4 too, while 0.0.0.0/0 blocks no other IPv6. A zone (fe80::1%eth0) does not count: it is
// left out of rules and questions alike, and a rule holds on every interface.
//
// A rule added twice is there twice, and has to be removed twice. Node: net.BlockList.
type BlockList struct {
	mu    sync.RWMutex
	rules ruleTable
}

// ruleTable finds the rules that block an address: those for addresses and subnets by what they
// match, one look for each length of prefix in use, and ranges one by one.
type ruleTable struct {
	nets    map[netip.Prefix][]numbered // none of them empty
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

// AddAddress adds a rule that blocks one address. An invalid address is ErrInvalidAddress. Node:
// blockList.addAddress.
func (b *BlockList) AddAddress(ip netip.Addr) error { return b.add(addressRule(ip)) }

// AddRange adds a rule that blocks the addresses from first to last, both included, which must be of
// one family. An invalid address is ErrInvalidAddress; two families, or a first address above the
// last, are ErrInvalidRange. A long list of ranges is slow to check: prefer subnets. Node:
// blockList.addRange.
func (b *BlockList) AddRange(first, last netip.Addr) error { return b.add(rangeRule(first, last)) }

// AddSubnet adds a rule that blocks the addresses of a network. Its address need not be masked, and
// Rules tells it as given. The zero Prefix is ErrInvalidAddress; a length of prefix that the address
// does not have is ErrInvalidPrefix. Node: blockList.addSubnet.
func (b *BlockList) AddSubnet(network netip.Prefix) error { return b.add(subnetRule(network)) }

// Add adds a rule given as text: "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8", the same in IPv6, or
// a line of Rules, such as "Subnet: IPv4 10.0.0.0/8". It fails as AddAddress, AddRange and AddSubnet
// do, and with ErrInvalidAddress for any other text. Node has addAddress, addRange and addSubnet.
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

// RemoveAddress removes a rule that AddAddress has added for the address, the newest if there are
// several, and reports whether there was one. Rules that block it as part of a range or a subnet
// stay. Node: blockList.removeAddress.
func (b *BlockList) RemoveAddress(ip netip.Addr) bool { return b.remove(addressRule(ip)) }

// RemoveRange removes a rule that AddRange has added with the same ends, the newest if there are
// several, and reports whether there was one. Node: blockList.removeRange.
func (b *BlockList) RemoveRange(first, last netip.Addr) bool {
	return b.remove(rangeRule(first, last))
}

// RemoveSubnet removes a rule that AddSubnet has added for the same network, masked or not, the
// newest if there are several, and reports whether there was one. Node: blockList.removeSubnet.
func (b *BlockList) RemoveSubnet(network netip.Prefix) bool { return b.remove(subnetRule(network)) }

func (b *BlockList) remove(r rule, err error) bool {
	if b == nil || err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules.remove(r)
}

// Clear removes all rules. Node: blockList.clear.
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

// Len is how many rules there are. Node: blockList.size.
func (b *BlockList) Len() int {
	if b == nil {
		return 0
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.rules.size
}

// Check reports whether a rule blocks the address. The zero Addr is never blocked. It does not take
// longer for more addresses and subnets, only for more ranges and lengths of prefix. Node:
// blockList.check.
func (b *BlockList) Check(ip netip.Addr) bool {
	if b == nil || !ip.IsValid() {
		return false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.rules.match(wide(ip))
}

// Rules are the rules in Node's words, newest first: "Address: IPv4 10.0.0.1",
// "Range: IPv4 10.0.0.1-10.0.0.9", "Subnet: IPv6 2001:db8::/32". The caller owns the slice. Node:
// blockList.rules.
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

// String gives Rules, a line for each.
func (b *BlockList) String() string { return strings.Join(b.Rules(), "\n") }

// MarshalJSON gives Rules as an array. Node: blockList.toJSON.
func (b *BlockList) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]string{}, b.Rules()...))
}

// UnmarshalJSON replaces all rules, at once, by those of an array that MarshalJSON has made, or whose
// texts are such as Add takes, newest first. If one of them is no rule, the error names it and the
// list stays as it was; null changes nothing. Node: blockList.fromJSON, which adds to the list, and
// ignores what is no rule.
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

// blocksPeer reports whether the other end of an accepted conn is on the list. What has no IP
// address is not. The peer's address may be of any kind: no lock is held.
func (b *BlockList) blocksPeer(peer interface{ RemoteAddr() net.Addr }) bool {
	if b == nil {
		return false
	}
	return b.Check(ipOf(peer.RemoteAddr()))
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

// removeNewest removes the last of the rules that fits.
func removeNewest(rules []numbered, fits func(numbered) bool) ([]numbered, bool) {
	for i, n := range slices.Backward(rules) {
		if fits(n) {
			return slices.Delete(rules, i, i+1), true
		}
	}
	return rules, false
}

// countLength keeps lengths after a key of nets has come or gone.
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
