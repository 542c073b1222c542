package dgram

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"evnet/internal/nodecode"
)

// The errors dgram makes itself. System errors are wrapped, never replaced: errors.Is finds
// syscall.EMSGSIZE or syscall.ECONNREFUSED in what a method, a callback or an Error event gives.
// evnet.Code gives Node's code of any of them.
var (
	// ErrNotRunning is returned by methods of a closed socket, and is what datagrams get that Close
	// has overtaken. It matches net.ErrClosed. Node: ERR_SOCKET_DGRAM_NOT_RUNNING.
	ErrNotRunning error = &nodecode.Error{Text: "dgram: socket is not running", Code: "ERR_SOCKET_DGRAM_NOT_RUNNING", Cause: net.ErrClosed}
	// ErrAlreadyBound is returned by Bind on a socket that is bound, also by a Send, Connect or
	// AddMembership that came first. Node: ERR_SOCKET_ALREADY_BOUND.
	ErrAlreadyBound error = &nodecode.Error{Text: "dgram: socket is already bound", Code: "ERR_SOCKET_ALREADY_BOUND"}
	// ErrIsConnected is returned by Connect on a socket that is connecting or connected, and by a Send
	// with an address on one that is connected. It matches syscall.EISCONN. Node:
	// ERR_SOCKET_DGRAM_IS_CONNECTED.
	ErrIsConnected error = &nodecode.Error{Text: "dgram: socket is connected", Code: "ERR_SOCKET_DGRAM_IS_CONNECTED", Cause: syscall.EISCONN}
	// ErrNotConnected is returned by Disconnect and RemoteAddress. It matches syscall.ENOTCONN. Node:
	// ERR_SOCKET_DGRAM_NOT_CONNECTED.
	ErrNotConnected error = &nodecode.Error{Text: "dgram: socket is not connected", Code: "ERR_SOCKET_DGRAM_NOT_CONNECTED", Cause: syscall.ENOTCONN}
	// ErrBadPort is returned for an address without a port that can be used. Node:
	// ERR_SOCKET_BAD_PORT.
	ErrBadPort error = &nodecode.Error{Text: "dgram: port is not one from 1 to 65535", Code: "ERR_SOCKET_BAD_PORT"}
	// ErrBadType is returned for a network that is neither "udp4" nor "udp6". Node:
	// ERR_SOCKET_BAD_TYPE.
	ErrBadType error = &nodecode.Error{Text: "dgram: network is neither udp4 nor udp6", Code: "ERR_SOCKET_BAD_TYPE"}
	// ErrBadBufferSize is returned for the size of a buffer that is negative or above 2 GiB. Node:
	// ERR_SOCKET_BAD_BUFFER_SIZE.
	ErrBadBufferSize error = &nodecode.Error{Text: "dgram: size of a buffer is out of range", Code: "ERR_SOCKET_BAD_BUFFER_SIZE"}
	// ErrBufferSize is returned where the size of a buffer cannot be had or set; the cause is with it.
	// Node: ERR_SOCKET_BUFFER_SIZE.
	ErrBufferSize error = &nodecode.Error{Text: "dgram: could not get or set the size of a buffer", Code: "ERR_SOCKET_BUFFER_SIZE"}
	// ErrMissingGroup is returned where a multicast group or source is "". Node: ERR_MISSING_ARGS.
	ErrMissingGroup error = &nodecode.Error{Text: "dgram: the address of a multicast group is missing", Code: "ERR_MISSING_ARGS"}
)

// opError is an error of the socket's with all that is known.
func (s *Socket) opError(op string, to netip.AddrPort, err error) error {
	e := &net.OpError{Op: op, Net: s.network, Err: err}
	if local := s.local.Load(); local != nil && local.IsValid() {
		e.Source = net.UDPAddrFromAddrPort(*local)
	}
	if to.IsValid() {
		e.Addr = net.UDPAddrFromAddrPort(to)
	}
	return e
}

// textAddr is an address that could not be used, as it was given.
type textAddr struct{ network, address string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.address }

// refused is an error of a method about an address that it was given.
func (s *Socket) refused(op, address string, err error) error {
	return &net.OpError{Op: op, Net: s.network, Addr: textAddr{s.network, address}, Err: err}
}

// unbound is what a method of a socket without a descriptor fails with.
func unbound(method string) error {
	return fmt.Errorf("dgram: %s: the socket is not bound: %w", method, os.NewSyscallError("getsockname", syscall.EBADF))
}
