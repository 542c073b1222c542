package dgram

import (
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"evnet/internal/race"
)

// calls has the numbers of system calls that package syscall does not define on some ports. If they are
// unknown, goroutines serve the sockets.
var calls, callsKnown = callNumbers[runtime.GOARCH]

type callNumber struct{ recvmmsg, sendmmsg, connect uintptr }

var callNumbers = map[string]callNumber{
	"386":      {337, 345, 362},
	"amd64":    {299, 307, 42},
	"arm":      {365, 374, 283},
	"arm64":    {243, 269, 203},
	"loong64":  {243, 269, 203},
	"mips":     {4335, 4343, 4170},
	"mipsle":   {4335, 4343, 4170},
	"mips64":   {5294, 5302, 5041},
	"mips64le": {5294, 5302, 5041},
	"ppc64":    {343, 349, 328},
	"ppc64le":  {343, 349, 328},
	"riscv64":  {243, 269, 203},
	"s390x":    {357, 358, 362},
}

// stride is the distance between two messages in a batch. It is a few cache lines more than the size of the
// longest message: with a distance that is a power of two, the beginnings would map to the same cache sets.
const stride = maxMessage + 5*64

// mmsghdr is the struct mmsghdr of the kernel.
type mmsghdr struct {
	hdr syscall.Msghdr
	n   uint32
}

// batch is what one system call sends or receives.
type batch struct {
	hdrs  [batchSize]mmsghdr
	iovs  [batchSize]syscall.Iovec
	names [batchSize]syscall.RawSockaddrInet6
	buf   []byte // nil in a batch for sending
	n     int    // number of messages
	at    int    // received messages before it are delivered

	run   func(fd uintptr) // makes the system call; created once, so that do does not allocate
	call  uintptr          // number of the system call
	flags uintptr
	done  uintptr // messages that the system call has processed
	errno syscall.Errno
}

var receivers = sync.Pool{New: func() any {
	b := newBatch()
	b.buf = make([]byte, batchSize*stride)
	for i := range b.iovs {
		b.iovs[i].Base = &b.buf[i*stride]
		b.iovs[i].SetLen(maxMessage)
	}
	b.call, b.flags = calls.recvmmsg, syscall.MSG_DONTWAIT
	return b
}}

var senders = sync.Pool{New: func() any {
	b := newBatch()
	b.call, b.flags = calls.sendmmsg, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL
	return b
}}

func newBatch() *batch {
	b := &batch{}
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		h.Iov = &b.iovs[i]
		h.Iovlen = 1
	}
	b.run = func(fd uintptr) {
		for b.errno = syscall.EINTR; b.errno == syscall.EINTR; {
			b.done, _, b.errno = syscall.RawSyscall6(b.call, fd, uintptr(unsafe.Pointer(&b.hdrs)), uintptr(b.n), b.flags, 0, 0)
		}
	}
	return b
}

// do makes the system call for b.n messages, and sets b.n to the number of messages that the kernel has processed.
func (b *batch) do(raw syscall.RawConn) error {
	if err := raw.Control(b.run); err != nil {
		b.n = 0
		return err
	}
	if b.errno != 0 {
		b.n = 0
		return b.errno
	}
	b.n = int(b.done)
	return nil
}

// receive receives the available messages, at most batchSize.
func (b *batch) receive(raw syscall.RawConn) error {
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = syscall.SizeofSockaddrInet6
	}
	b.n, b.at = batchSize, 0
	err := b.do(raw)
	for i := range b.n {
		race.Wrote(b.message(i))
	}
	return err
}

// message returns the bytes of the i-th message. They are valid until the next receive.
func (b *batch) message(i int) []byte {
	at := i * stride
	return b.buf[at : at+int(b.hdrs[i].n) : at+int(b.hdrs[i].n)]
}

// sender returns the address of the sender of the i-th message.
func (b *batch) sender(i int) netip.AddrPort {
	name := &b.names[i]
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	number := uint16(port[0])<<8 | uint16(port[1])
	switch name.Family {
	case syscall.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), number)
	case syscall.AF_INET6:
		ip := netip.AddrFrom16(name.Addr)
		if name.Scope_id != 0 {
			ip = ip.WithZone(zoneName(name.Scope_id))
		}
		return netip.AddrPortFrom(ip, number)
	}
	return netip.AddrPort{}
}

// add appends p to the messages to send. Without a valid address it goes to the peer of a connected descriptor.
func (b *batch) add(p []byte, to netip.AddrPort) {
	i := b.n
	b.n++
	b.iovs[i].Base = unsafe.SliceData(p)
	b.iovs[i].SetLen(len(p))
	race.Read(p)
	h, name := &b.hdrs[i].hdr, &b.names[i]
	h.Name, h.Namelen = nil, 0
	if !to.IsValid() {
		return
	}
	h.Name = (*byte)(unsafe.Pointer(name))
	h.Namelen = setSockaddr(name, to)
}

// setSockaddr stores the address in name, in the form of its family, and returns the length.
func setSockaddr(name *syscall.RawSockaddrInet6, to netip.AddrPort) uint32 {
	*name = syscall.RawSockaddrInet6{}
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
	if ip := to.Addr(); ip.Is4() {
		name.Family = syscall.AF_INET
		(*syscall.RawSockaddrInet4)(unsafe.Pointer(name)).Addr = ip.As4()
		return syscall.SizeofSockaddrInet4
	}
	name.Family = syscall.AF_INET6
	name.Addr = to.Addr().As16()
	name.Scope_id = zoneIndex(to.Addr().Zone())
	return syscall.SizeofSockaddrInet6
}

// release returns b to the pool, without references to the sent messages.
func (b *batch) release() {
	clear(b.iovs[:])
	b.n = 0
	senders.Put(b)
}
