package dgram

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"

	"evnet"
	"evnet/internal/ratelimit"
)

const defaultMaxSendQueue = 64 << 20

// overhead is what a queued datagram counts besides its bytes, so that empty ones cannot fill the memory.
const overhead = 64

// SocketOptions are what NewSocket and Wrap take. They are copied; but for Network, the zero value of
// each field is its default. Node: the options of dgram.createSocket.
type SocketOptions struct {
	// Network is "udp4" or "udp6". There is no default; Wrap finds it out.
	Network string
	// ReuseAddr lets Bind take an address that others have taken, if they let it: all of them get what
	// is sent to a multicast group, and one of them, which one the system chooses, the rest.
	ReuseAddr bool
	// ReusePort lets several sockets, in one process or many, share an address, if all of them ask for
	// it; the system chooses who gets a datagram (Linux and FreeBSD spread the senders over them).
	// Where there is no SO_REUSEPORT, as on Windows, Bind fails with errors.ErrUnsupported.
	ReusePort bool
	// IPv6Only keeps a udp6 socket that is bound to all addresses from taking IPv4 too.
	IPv6Only bool
	// ReadBuffer and WriteBuffer are the sizes, in bytes, of the system's buffers, set by Bind; the
	// system may have limits, and Linux doubles what it is asked for. Default: the system's own sizes.
	// Node: recvBufferSize, sendBufferSize.
	ReadBuffer, WriteBuffer int
	// MaxSendQueue is how many bytes may wait to be sent before Send fails with
	// evnet.ErrWriteBufferFull; each datagram counts 64 besides its own. Default: 64 MiB. Negative: no
	// limit. Node has none.
	MaxSendQueue int
	// Resolver looks host names up, off the loop. Default: net.DefaultResolver. Node: lookup.
	Resolver evnet.Resolver
	// ReceiveBlockList has the senders to refuse: what they send is dropped silently. SendBlockList has
	// the destinations to refuse, for Send and Connect, which fail with evnet.ErrBlocked. Neither is
	// copied: a list may change at any time. Default: nobody is refused. Node: receiveBlockList,
	// sendBlockList.
	ReceiveBlockList, SendBlockList *evnet.BlockList
	// Context bounds the socket's life: when it ends, the socket is closed, as by Close. Default: none.
	// Node: the signal option.
	Context context.Context
	// Loop runs the callbacks. Default: evnet.DefaultLoop.
	Loop *evnet.Loop
	// Logger gets a record for an error that no Error listener handles, one for each code. The sockets of
	// one loop share a limit, as SocketOptions.Logger of package evnet describes it. Default:
	// slog.Default().
	Logger *slog.Logger
}

// withDefaults is a copy with the defaults filled in.
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

func (o *SocketOptions) check() error {
	if o.Network != "udp4" && o.Network != "udp6" {
		return fmt.Errorf("%w: %q", ErrBadType, o.Network)
	}
	return o.checkBuffers()
}

func (o *SocketOptions) checkBuffers() error {
	for _, size := range []int{o.ReadBuffer, o.WriteBuffer} {
		if err := checkBuffer(size); err != nil {
			return err
		}
	}
	return nil
}

func checkBuffer(size int) error {
	if size < 0 || int64(size) > math.MaxInt32 {
		return fmt.Errorf("%w: %d", ErrBadBufferSize, size)
	}
	return nil
}

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
