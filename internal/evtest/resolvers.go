package evtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

var ErrRefused = errors.New("refused by the test")

// Hook is a Resolver that calls a function and then answers 127.0.0.1.
type Hook func()

func (h Hook) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	h()
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// Resolver answers every name with the same addresses.
type Resolver struct {
	Addrs []netip.Addr
	Err   error
}

func (r Resolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return r.Addrs, r.Err
}

// IPs makes a Resolver from the texts of addresses. An invalid address becomes the zero Addr.
func IPs(texts ...string) Resolver {
	var r Resolver
	for _, text := range texts {
		ip, _ := netip.ParseAddr(text)
		r.Addrs = append(r.Addrs, ip)
	}
	return r
}

// NeverResolves is a Resolver that never answers.
type NeverResolves struct{}

func (NeverResolves) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// UnresponsiveDialer returns a Dialer for which 127.0.0.3 never answers.
func UnresponsiveDialer() *net.Dialer {
	return &net.Dialer{ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if strings.HasPrefix(address, "127.0.0.3:") {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
}
