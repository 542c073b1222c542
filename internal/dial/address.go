package dial

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"

	"evnet/internal/nodecode"
)

var (
	errInvalidIP = &nodecode.Error{Text: "the resolver's answer is not an IP address", Code: "ERR_INVALID_IP_ADDRESS"}
	errFamily    = &nodecode.Error{Text: "family is not 0, 4 or 6", Code: "ERR_INVALID_ARG_VALUE"}
)

// textAddr is an address that was not resolved.
type textAddr struct{ network, address string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.address }

// OpError returns err with the network and the address of the destination.
func OpError(network, address string, err error) *net.OpError {
	return &net.OpError{Op: "dial", Net: network, Addr: textAddr{network, address}, Err: err}
}

// parse sets the host to look up, or the only attempt.
func (r *Race) parse() error {
	network, address := r.config.Network, r.config.Address
	r.family = r.config.Family
	switch network {
	case "unix":
		if address == "" {
			return &net.AddrError{Err: "missing path", Addr: address}
		}
		if err := r.config.CheckPath(address); err != nil {
			return err
		}
		r.todo = []Attempt{{Network: network, Address: address}}
		return r.bind()
	case "tcp":
	case "tcp4":
		r.family = 4
	case "tcp6":
		r.family = 6
	default:
		return net.UnknownNetworkError(network)
	}
	if r.family != 0 && r.family != 4 && r.family != 6 {
		return errFamily
	}
	host, port, err := splitHostPort(network, address)
	if err != nil {
		return err
	}
	r.port = port
	if host == "" {
		host = "localhost"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		r.host = host
		return r.bind()
	}
	if r.family != 0 && r.family != familyOf(ip) {
		return &net.AddrError{Err: "no suitable address", Addr: host}
	}
	r.family = familyOf(ip)
	r.todo = []Attempt{r.attemptAt(ip)}
	return r.bind()
}

// splitHostPort also resolves the names of services, as net.Dial does.
func splitHostPort(network, address string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := net.LookupPort(network, service)
	if err != nil {
		return "", 0, err
	}
	return host, uint16(n), nil
}

// bind sets the local address, and limits the Race to the family of Dialer.LocalAddr, because that address cannot reach
// another family.
func (r *Race) bind() error {
	if r.config.Dial != nil {
		return nil
	}
	local := r.config.Dialer.LocalAddr
	if _, tcp := local.(*net.TCPAddr); tcp && r.config.Network == "unix" {
		local = nil // as in Node, it does not apply to a path
	}
	if r.local = local; local == nil {
		return nil
	}
	refused := func(err error) error {
		op := OpError(r.config.Network, r.config.Address, err)
		op.Source = local
		return op
	}
	family, fits := 0, false
	switch local := local.(type) {
	case *net.TCPAddr:
		fits = local != nil
		if fits {
			if ip, ok := netip.AddrFromSlice(local.IP); ok {
				family = familyOf(ip)
			}
		}
	case *net.UnixAddr:
		fits = local != nil && r.config.Network == "unix"
	}
	switch {
	case !fits:
		return refused(&net.AddrError{Err: "mismatched local address type", Addr: fmt.Sprint(local)})
	case r.family == 0:
		r.family = family
	case family != 0 && family != r.family:
		return refused(os.NewSyscallError("bind", syscall.EINVAL)) // the kernel's error
	}
	return nil
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() || ip.Is4In6() {
		return 4
	}
	return 6
}

func (r *Race) attemptAt(ip netip.Addr) Attempt {
	family := familyOf(ip)
	return Attempt{
		Network: "tcp" + strconv.Itoa(family),
		Address: netip.AddrPortFrom(ip.Unmap(), r.port).String(),
		Family:  family,
	}
}

// candidates returns the addresses to try, in order. The families alternate, starting with the family of the first answer.
// Each address occurs once.
func (r *Race) candidates(ips []netip.Addr) []Attempt {
	byFamily := map[int][]Attempt{}
	first := 0
	for _, ip := range ips {
		if !ip.IsValid() || r.family != 0 && r.family != familyOf(ip) {
			continue // a resolver may return more than was requested
		}
		a := r.attemptAt(ip)
		if first == 0 {
			first = a.Family
		}
		if !slices.Contains(byFamily[a.Family], a) {
			byFamily[a.Family] = append(byFamily[a.Family], a)
		}
	}
	var all []Attempt
	same, other := byFamily[first], byFamily[10-first]
	for len(same)+len(other) > 0 {
		if len(same) > 0 {
			all, same = append(all, same[0]), same[1:]
		}
		same, other = other, same
	}
	return all
}

// refusal returns why an attempt must not be made, or nil.
func (r *Race) refusal(a Attempt) error {
	if r.config.Allow == nil || a.Family == 0 {
		return nil
	}
	to, _ := netip.ParseAddrPort(a.Address) // always valid
	err := r.config.Allow(to.Addr())
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "dial", Net: a.Network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
}
