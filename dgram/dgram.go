// Package dgram implements the event model of Node's dgram module for Go: UDP sockets on a loop of package
// evnet.
//
// A [Socket] sends and receives datagrams, and emits typed events. Its callbacks run on an evnet.Loop, one
// at a time. That includes the callbacks of other sockets and servers on the same loop, so they need no locks
// among themselves. An echo server:
//
//	var server *dgram.Socket
//	server, err := dgram.CreateSocket("udp4", func(msg []byte, from netip.AddrPort) {
//		server.SendTo(msg, from, nil)
//	})
//	// handle err
//	err = server.Bind(":41234", func() { fmt.Println("listening on", server.Address()) })
//	// handle err
//	evnet.Run() // returns when no socket is open, as a Node process ends
//
// A client:
//
//	client, err := dgram.CreateSocket("udp4", nil)
//	// handle err
//	client.On.Message(func(msg []byte, from netip.AddrPort) {
//		fmt.Printf("%s says %s\n", from, msg)
//		client.Close(nil)
//	})
//	err = client.Send([]byte("hello"), "localhost:41234", nil)
//	// handle err
//	evnet.Run()
//
// # Overview
//
//   - Create a socket: [CreateSocket], or [NewSocket] with [SocketOptions]; [Wrap] for an existing
//     net.PacketConn.
//   - Receive: [Socket.Bind], then On.Message, or [Socket.OnRead], which passes borrowed bytes and does not
//     allocate.
//   - Send: [Socket.Send], [Socket.SendTo] for an IP address and port, [Socket.SendBuffers] for a message in
//     parts; [Socket.SendQueueSize].
//   - Connect to one peer: [Socket.Connect], [Socket.Disconnect], [Socket.RemoteAddress].
//   - Broadcast and multicast: [Socket.SetBroadcast], [Socket.AddMembership],
//     [Socket.AddSourceSpecificMembership], [Socket.SetMulticastInterface], [Socket.SetMulticastTTL].
//   - Handle events: the fields On, Once and Prepend ([SocketEvents]) have one method for each event; each
//     returns a [Listener] with Off.
//   - Block peers: ReceiveBlockList and SendBlockList of [SocketOptions].
//   - Close: [Socket.Close], or the Context of [SocketOptions]; [Socket.Unref].
//   - Distinguish errors: errors.Is with system errors and the sentinels below, or evnet.Code.
//
// # Order of events
//
//	listening                  // once, when bound; before any message
//	(message* | error* | connect*)
//	close                      // always, once, last
//
// After Close only Error and Close are emitted. An emit that has begun calls its other listeners, as in Node.
// The callbacks of Send and Connect run exactly once each, before Close. No event is emitted before the
// method that causes it has returned. A function that a callback posts with Loop.Post runs before the next
// message.
//
// # Ownership of the bytes
//
// The bytes of On.Message belong to the receiver: they are a copy of exactly that size. The bytes of
// [Socket.OnRead] are borrowed: they are valid until the function returns. Send copies the message.
//
// # Loss and backpressure
//
// UDP loses messages when a buffer is full. A socket reads only when its loop can deliver, and at most 32
// messages in one turn of the loop. So it does not read ahead, and does not delay other sockets. Further
// messages stay in the kernel's buffer, whose size is [SocketOptions].ReadBuffer. When that buffer is full,
// the kernel drops messages. Send queues messages that the kernel does not accept, up to MaxSendQueue.
//
// On Linux the loop itself serves the sockets, with recvmmsg and sendmmsg. The messages of one turn are sent
// together, and an idle socket needs no goroutine and no buffer. On other systems one goroutine reads, one
// message at a time, and another writes while messages are queued.
//
// # Errors
//
// An error of one message does not end a socket: it is reported to the callback of Send or, without one,
// emitted as Error. An error without an Error listener is logged, once for each code; it does not end the
// process. A panic in a callback unwinds out of Run, as in any Go program, unless Loop.OnPanic contains it.
// Then the socket is closed, with Error and Close, and the other sockets continue.
//
// # Differences from Node
//
// Events, their order and their conditions are the same as in Node, with these exceptions:
//
//   - Binding: Bind binds synchronously and returns any error. So do the first Send, Connect and
//     AddMembership, which emit Listening too.
//   - Invalid calls: the error is returned where Node throws it. Before Bind, options return EBADF, as in
//     Node. After Close, all methods return ErrNotRunning, where Node throws TypeErrors.
//   - Failed sends without a callback: Error is emitted, as Node's documentation says. Node itself does not
//     report messages that the kernel rejects.
//   - Errors without a listener: an error without an Error listener is logged and does not end the process.
//   - Callbacks: they run exactly once. Node drops the callbacks of messages that are pending at Close.
//     Messages to literal addresses that were sent right before Close are still sent.
//   - The send queue: MaxSendQueue limits it.
//   - Ports: a port above 65535 is an error for Bind too. Node uses it modulo 65536.
//   - Multicast groups: Bind to a group binds all addresses and shares the port.
//   - Connect: messages of other senders that were received before it, and are not delivered yet, are
//     dropped. Node emits them if the kernel has queued them.
//   - Disconnect: the socket keeps its port. On Linux, Node's socket loses a port that the kernel has chosen.
//   - Interfaces: they may be specified by name.
//   - Zones: a zone that names no network interface, as in fe80::1%nowhere, is EINVAL, as in package evnet. Node sends to
//     the address without the zone, and lets the kernel choose the interface of a group.
//   - Lookups: the Resolver is not called for an IP address, nor without a host, as in package evnet. Node calls the
//     lookup option for them.
//   - Getters: Address returns the zero AddrPort before Bind, and stays readable after Close.
//   - The end of Run: Run closes open sockets that are not referenced before it returns; they emit Close.
//   - Off: it takes effect immediately, also during an emit.
package dgram

import "net/netip"

// CreateSocket makes a socket on evnet.DefaultLoop. network is "udp4" or "udp6"; any other network is
// ErrBadType. onMessage is called for each message, like a callback of On.Message. It may be nil.
//
// Node: dgram.createSocket.
func CreateSocket(network string, onMessage func(msg []byte, from netip.AddrPort)) (*Socket, error) {
	s, err := NewSocket(&SocketOptions{Network: network})
	if err != nil {
		return nil, err
	}
	if onMessage != nil {
		s.On.Message(onMessage)
	}
	return s, nil
}
