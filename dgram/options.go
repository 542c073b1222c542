package dgram

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"syscall"

	"evnet"
	"evnet/internal/nodecode"
	"evnet/internal/ratelimit"
)

const defaultMaxSendQueue = 64 << 20

// overhead is added to the length of a queued datagram, so that the limits also bound empty datagrams.
const overhead = 64

// SocketOptions are the options of NewSocket and Wrap, which copy them. The zero value of each field except
// Network is its default.
//
// Node: the options of dgram.createSocket.
type SocketOptions struct {
	// Network is "udp4" or "udp6". There is no default. Wrap takes it from the conn.
	Network string
	// ReuseAddr lets Bind use an address to which other sockets are bound, if they allow that. All of them
	// receive the datagrams of a multicast group. Only one of them, which the kernel chooses, receives the
	// others.
	ReuseAddr bool
	// ReusePort lets several sockets, in one process or many, share an address, if all of them set it. The
	// kernel chooses which socket receives a datagram; Linux and FreeBSD distribute the senders among the
	// sockets. Without SO_REUSEPORT, as on Windows, Bind fails with errors.ErrUnsupported.
	ReusePort bool
	// IPv6Only prevents a udp6 socket that is bound to all addresses from receiving IPv4 too.
	IPv6Only bool
	// ReadBuffer and WriteBuffer are the sizes, in bytes, of the kernel's buffers. Bind sets them. The kernel
	// may limit them, and Linux doubles the requested size. Default: the sizes that the kernel chooses. A size of 2 GiB
	// and more is ErrBufferSize.
	//
	// Node: recvBufferSize, sendBufferSize.
	ReadBuffer, WriteBuffer int
	// MaxSendQueue is the number of bytes that may be queued before Send fails with
	// evnet.ErrWriteBufferFull. Each datagram counts 64 bytes in addition to its own. Default: 64 MiB.
	// Negative: no limit.
	//
	// Node has no counterpart.
	MaxSendQueue int
	// Resolver looks up host names, off the loop. It is not called for an IP address. Default: net.DefaultResolver.
	//
	// Node: lookup.
	Resolver evnet.Resolver
	// ReceiveBlockList has the blocked senders, whose datagrams are dropped silently. SendBlockList has the
	// blocked destinations, for which Send and Connect fail with evnet.ErrBlocked. Neither is copied: a list
	// may change at any time. Default: nothing is blocked.
	//
	// Node: receiveBlockList, sendBlockList.
	ReceiveBlockList, SendBlockList *evnet.BlockList
	// Context limits the life of the socket: when it ends, the socket is closed, as by Close, even if it was never
	// bound. Close is emitted before Run returns. The context does not keep an unbound socket in memory that the
	// program no longer refers to, unless the socket has a Close listener. Default: none.
	//
	// Node: the signal option.
	Context context.Context
	// Loop runs the callbacks. Default: evnet.DefaultLoop.
	Loop *evnet.Loop
	// Logger gets a record for an error without an Error listener, one for each code. The sockets of one loop
	// share a rate limit, which SocketOptions.Logger of package evnet describes. Default: slog.Default().
	Logger *slog.Logger
}

// withDefaults returns a copy of opts with the defaults filled in.
func withDefaults(opts *SocketOptions) SocketOptions {
	var o SocketOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxSendQueue == 0 {
		o.MaxSendQueue = defaultMaxSendQueue
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Loop == nil {
		o.Loop = evnet.DefaultLoop
	}
	return o
}

// check returns why NewSocket cannot use the options, or nil.
func (o *SocketOptions) check() error {
	if o.Network != "udp4" && o.Network != "udp6" {
		return fmt.Errorf("%w: %q", ErrBadType, o.Network)
	}
	return o.checkBuffers()
}

func (o *SocketOptions) checkBuffers() error {
	for _, size := range []int{o.ReadBuffer, o.WriteBuffer} {
		switch {
		case size < 0 || int64(size) > math.MaxUint32:
			return fmt.Errorf("%w: %d", errBufferOutOfRange, size)
		case int64(size) > math.MaxInt32:
			return bufferError(os.NewSyscallError("setsockopt", syscall.EINVAL)) // as in Node, which reports it when it binds
		}
	}
	return nil
}

// errBufferOutOfRange is ErrBadBufferSize for an option. Node has another code for it.
var errBufferOutOfRange error = &nodecode.Error{Text: ErrBadBufferSize.Error(), Code: "ERR_OUT_OF_RANGE", Cause: ErrBadBufferSize}

func (o *SocketOptions) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}

// record reports whether a warning is to be written. Its rate is limited: a peer can cause it.
func (s *Socket) record() (ratelimit.Record, bool) {
	return s.core.Log().Take(s.opts.logger(), slog.LevelWarn)
}
