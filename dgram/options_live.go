package dgram

import (
	"fmt"
	"syscall"
)

// Options of a bound socket.

// with calls fn with the descriptor of a bound socket. Node gives EBADF for one that is not bound.
func (s *Socket) with(method string, fn func(fd descriptor) error) error {
	s.mu.Lock()
	conn, closed := s.conn, s.closed.Load()
	s.mu.Unlock()
	switch {
	case closed:
		return fmt.Errorf("dgram: %s: %w", method, ErrNotRunning)
	case conn == nil:
		return unbound(method)
	}
	if err := onConn(conn, fn); err != nil {
		return fmt.Errorf("dgram: %s: %w", method, err)
	}
	return nil
}

func (s *Socket) setInt(method string, level, option, value int) error {
	return s.with(method, func(fd descriptor) error { return setInt(fd, level, option, value) })
}

// isIPv6 reports whether the options are those of IPv6.
func (s *Socket) isIPv6() bool { return s.network == "udp6" }

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}

// within is why a TTL is none.
func within(method string, ttl, least int) error {
	if ttl < least || ttl > 255 {
		return fmt.Errorf("dgram: %s: %d is not from %d to 255: %w", method, ttl, least, syscall.EINVAL)
	}
	return nil
}

// SetBroadcast allows messages to broadcast addresses, which otherwise fail with syscall.EACCES. Like all
// methods for options, it returns an error that is syscall.EBADF before the socket is bound,
// ErrNotRunning after Close, and errors.ErrUnsupported for a conn without a descriptor. Node:
// socket.setBroadcast.
func (s *Socket) SetBroadcast(on bool) error {
	return s.setInt("SetBroadcast", syscall.SOL_SOCKET, syscall.SO_BROADCAST, number(on))
}

// SetTTL sets how many hops a message may make, from 1 to 255; another number is syscall.EINVAL. The
// system's default is mostly 64. Node: socket.setTTL.
func (s *Socket) SetTTL(ttl int) error {
	if s.isIPv6() {
		return s.setTTL("SetTTL", syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS, ttl)
	}
	return s.setTTL("SetTTL", syscall.IPPROTO_IP, syscall.IP_TTL, ttl)
}

func (s *Socket) setTTL(method string, level, option, ttl int) error {
	return s.with(method, func(fd descriptor) error {
		if err := within(method, ttl, 1); err != nil {
			return err
		}
		return setInt(fd, level, option, ttl)
	})
}

// ReadBuffer is the size, in bytes, of the system's buffer for what arrives: what does not fit is lost.
// Linux gives twice what it was asked for. It returns ErrBufferSize with the cause. Node:
// socket.getRecvBufferSize.
func (s *Socket) ReadBuffer() (int, error) { return s.buffer("ReadBuffer", syscall.SO_RCVBUF) }

// WriteBuffer is that for what is sent. Node: socket.getSendBufferSize.
func (s *Socket) WriteBuffer() (int, error) { return s.buffer("WriteBuffer", syscall.SO_SNDBUF) }

func (s *Socket) buffer(method string, option int) (size int, err error) {
	err = s.with(method, func(fd descriptor) (err error) {
		size, err = getInt(fd, syscall.SOL_SOCKET, option)
		return err
	})
	return size, bufferFailed(err)
}

// SetReadBuffer sets the size of the system's buffer for what arrives, within the limits of the system. 0
// leaves it as it is. A negative size is ErrBadBufferSize; other failures are ErrBufferSize with the
// cause. Node: socket.setRecvBufferSize.
func (s *Socket) SetReadBuffer(bytes int) error {
	return s.setBuffer("SetReadBuffer", syscall.SO_RCVBUF, bytes)
}

// SetWriteBuffer is that for what is sent. Node: socket.setSendBufferSize.
func (s *Socket) SetWriteBuffer(bytes int) error {
	return s.setBuffer("SetWriteBuffer", syscall.SO_SNDBUF, bytes)
}

func (s *Socket) setBuffer(method string, option, size int) error {
	if err := checkBuffer(size); err != nil {
		return err
	}
	return bufferFailed(s.with(method, func(fd descriptor) error {
		if size == 0 {
			return nil
		}
		return setInt(fd, syscall.SOL_SOCKET, option, size)
	}))
}

func bufferFailed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBufferSize, err)
}
