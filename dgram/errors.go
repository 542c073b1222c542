package dgram

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"evnet/internal/nodecode"
)

// The errors of package dgram. System errors are wrapped, never replaced: errors.Is finds syscall.EMSGSIZE
// or syscall.ECONNREFUSED in the error of a method, a callback or an Error event. evnet.Code returns
// Node's code of each.
var (
	// ErrNotRunning is returned by methods of a closed socket. The callbacks of datagrams that were not
	// sent before Close get it too. It matches net.ErrClosed.
	//
	// Node: ERR_SOCKET_DGRAM_NOT_RUNNING.
	ErrNotRunning error = &nodecode.Error{Text: "dgram: socket is not running", Code: "ERR_SOCKET_DGRAM_NOT_RUNNING", Cause: net.ErrClosed}
	// ErrAlreadyBound is returned by Bind on a socket that is bound. An earlier Send, Connect or
	// AddMembership binds a socket too.
	//
	// Node: ERR_SOCKET_ALREADY_BOUND.
	ErrAlreadyBound error = &nodecode.Error{Text: "dgram: socket is already bound", Code: "ERR_SOCKET_ALREADY_BOUND"}
	// ErrIsConnected is returned by Connect on a socket that is connecting or connected, and by a Send
	// with an address on a connected socket. It matches syscall.EISCONN.
	//
	// Node: ERR_SOCKET_DGRAM_IS_CONNECTED.
	ErrIsConnected error = &nodecode.Error{Text: "dgram: socket is connected", Code: "ERR_SOCKET_DGRAM_IS_CONNECTED", Cause: syscall.EISCONN}
	// ErrNotConnected is returned by Disconnect and RemoteAddress on a socket that is not connected. It
	// matches syscall.ENOTCONN.
	//
	// Node: ERR_SOCKET_DGRAM_NOT_CONNECTED.
	ErrNotConnected error = &nodecode.Error{Text: "dgram: socket is not connected", Code: "ERR_SOCKET_DGRAM_NOT_CONNECTED", Cause: syscall.ENOTCONN}
	// ErrBadPort is returned for an address without a usable port.
	//
	// Node: ERR_SOCKET_BAD_PORT.
	ErrBadPort error = &nodecode.Error{Text: "dgram: port is not in the range 1 to 65535", Code: "ERR_SOCKET_BAD_PORT"}
	// ErrBadType is returned for a network that is neither "udp4" nor "udp6".
	//
	// Node: ERR_SOCKET_BAD_TYPE.
	ErrBadType error = &nodecode.Error{Text: "dgram: network is neither udp4 nor udp6", Code: "ERR_SOCKET_BAD_TYPE"}
	// ErrBadBufferSize is returned for a buffer size that is negative, or 4 GiB and more.
	//
	// Node: ERR_SOCKET_BAD_BUFFER_SIZE, ERR_OUT_OF_RANGE for an option.
	ErrBadBufferSize error = &nodecode.Error{Text: "dgram: buffer size is out of range", Code: "ERR_SOCKET_BAD_BUFFER_SIZE"}
	// ErrBufferSize is returned if a buffer size cannot be read or set. The error wraps the cause too.
	//
	// Node: ERR_SOCKET_BUFFER_SIZE.
	ErrBufferSize error = &nodecode.Error{Text: "dgram: could not get or set the buffer size", Code: "ERR_SOCKET_BUFFER_SIZE"}
	// ErrMissingGroup is returned if a multicast group or source is "".
	//
	// Node: ERR_MISSING_ARGS.
	ErrMissingGroup error = &nodecode.Error{Text: "dgram: the address of a multicast group is missing", Code: "ERR_MISSING_ARGS"}
)

// opError returns an error of the socket with its local address and to, each if it is known.
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

// textAddr is an address that could not be used, as the caller passed it.
type textAddr struct{ network, address string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.address }

// refused returns the error of a method that has rejected the address passed to it.
func (s *Socket) refused(op, address string, err error) error {
	return &net.OpError{Op: op, Net: s.network, Addr: textAddr{s.network, address}, Err: err}
}

// unboundError returns the error of a method that needs a descriptor, on a socket that is not bound.
func unboundError(method string) error {
	return fmt.Errorf("dgram: %s: the socket is not bound: %w", method, os.NewSyscallError("getsockname", syscall.EBADF))
}
