package dgram

import (
	"fmt"
	"math"
	"os"
	"syscall"
)

// This file has the options that can be changed on a bound socket.

// withDescriptor calls fn with the descriptor of a bound socket. If the socket is not bound it returns EBADF, as Node
// does.
func (s *Socket) withDescriptor(method string, fn func(fd descriptor) error) error {
	s.mu.Lock()
	conn, closed := s.conn, s.closed.Load()
	s.mu.Unlock()
	switch {
	case closed:
		return fmt.Errorf("dgram: %s: %w", method, ErrNotRunning)
	case conn == nil:
		return unboundError(method)
	}
	if err := onConn(conn, fn); err != nil {
		return fmt.Errorf("dgram: %s: %w", method, err)
	}
	return nil
}

func (s *Socket) setInt(method string, level, option, value int) error {
	return s.withDescriptor(method, func(fd descriptor) error { return setInt(fd, level, option, value) })
}

// isIPv6 reports whether the options of IPv6 apply to the socket, instead of those for IPv4.
func (s *Socket) isIPv6() bool { return s.network == "udp6" }

// boolInt returns the value of a boolean option.
func boolInt(on bool) int {
	if on {
		return 1
	}
	return 0
}

// checkTTL returns why a TTL is invalid, or nil.
func checkTTL(method string, ttl, least int) error {
	if ttl < least || ttl > 255 {
		return fmt.Errorf("dgram: %s: %d is not from %d to 255: %w", method, ttl, least, syscall.EINVAL)
	}
	return nil
}

// SetBroadcast allows messages to broadcast addresses, which otherwise fail with syscall.EACCES.
//
// Like all methods for options, it returns an error that is syscall.EBADF before the socket is bound,
// ErrNotRunning after Close, and errors.ErrUnsupported for a conn without a descriptor.
//
// Node: socket.setBroadcast.
func (s *Socket) SetBroadcast(on bool) error {
	return s.setInt("SetBroadcast", syscall.SOL_SOCKET, syscall.SO_BROADCAST, boolInt(on))
}

// SetTTL sets the maximum number of hops of a message, from 1 to 255. Another number is syscall.EINVAL. The
// default of the operating system is usually 64.
//
// Node: socket.setTTL.
func (s *Socket) SetTTL(ttl int) error {
	if s.isIPv6() {
		return s.setTTL("SetTTL", syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS, ttl)
	}
	return s.setTTL("SetTTL", syscall.IPPROTO_IP, syscall.IP_TTL, ttl)
}

func (s *Socket) setTTL(method string, level, option, ttl int) error {
	return s.withDescriptor(method, func(fd descriptor) error {
		if err := checkTTL(method, ttl, 1); err != nil {
			return err
		}
		return setInt(fd, level, option, ttl)
	})
}

// ReadBuffer returns the size, in bytes, of the kernel's buffer for received messages. Messages that do not
// fit are lost. Linux returns twice the requested size.
//
// An error is ErrBufferSize and wraps the cause.
//
// Node: socket.getRecvBufferSize.
func (s *Socket) ReadBuffer() (int, error) { return s.buffer("ReadBuffer", syscall.SO_RCVBUF) }

// WriteBuffer returns the size, in bytes, of the kernel's buffer for sent messages. Otherwise it is like
// ReadBuffer.
//
// Node: socket.getSendBufferSize.
func (s *Socket) WriteBuffer() (int, error) { return s.buffer("WriteBuffer", syscall.SO_SNDBUF) }

func (s *Socket) buffer(method string, option int) (size int, err error) {
	err = s.withDescriptor(method, func(fd descriptor) (err error) {
		size, err = getInt(fd, syscall.SOL_SOCKET, option)
		return err
	})
	return size, bufferError(err)
}

// SetReadBuffer sets the size, in bytes, of the kernel's buffer for received messages, within the limits of
// the kernel. A size of 0 does not change it.
//
// A size that is negative or 4 GiB and more is ErrBadBufferSize. Any other error is ErrBufferSize and wraps the cause,
// which is EINVAL for 2 GiB and more.
//
// Node: socket.setRecvBufferSize.
func (s *Socket) SetReadBuffer(bytes int) error {
	return s.setBuffer("SetReadBuffer", syscall.SO_RCVBUF, bytes)
}

// SetWriteBuffer sets the size, in bytes, of the kernel's buffer for sent messages. Otherwise it is like
// SetReadBuffer.
//
// Node: socket.setSendBufferSize.
func (s *Socket) SetWriteBuffer(bytes int) error {
	return s.setBuffer("SetWriteBuffer", syscall.SO_SNDBUF, bytes)
}

func (s *Socket) setBuffer(method string, option, size int) error {
	if size < 0 || int64(size) > math.MaxUint32 {
		return fmt.Errorf("%w: %d", ErrBadBufferSize, size)
	}
	return bufferError(s.withDescriptor(method, func(fd descriptor) error {
		switch {
		case size == 0:
			return nil
		case int64(size) > math.MaxInt32: // setsockopt takes an int
			return os.NewSyscallError("setsockopt", syscall.EINVAL)
		}
		return setInt(fd, syscall.SOL_SOCKET, option, size)
	}))
}

// bufferError wraps err, unless it is nil, in ErrBufferSize.
func bufferError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBufferSize, err)
}
