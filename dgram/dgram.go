// Package dgram is a stub.
package dgram

import "net/netip"

func CreateSocket(network string, onMessage func(msg []byte, from netip.AddrPort)) (*Socket, error) {
	s, err := NewSocket(&SocketOptions{Network: network})
	if err == nil && onMessage != nil {
		s.On.Message(onMessage)
	}
	return s, err
}
