// Package dgram is the event model of Node's dgram module for Go: UDP sockets on a loop of package evnet.
//
// A [Socket] sends and receives datagrams, and tells what happens to it by typed events. Its callbacks
// run on an evnet.Loop, one at a time, beside those of the servers and sockets of the same loop, so that
// they need no locks among themselves. A server that sends back what it gets:
//
//	var server *dgram.Socket
//	server, err := dgram.CreateSocket("udp4", func(msg []byte, from netip.AddrPort) {
//		server.SendTo(msg, from, nil)
//	})
//	// handle err
//	err = server.Bind(":41234", func() { fmt.Println("listening on", server.Address()) })
//	// handle err
//	evnet.Run() // returns once nothing is open, as a Node process ends
//
// and a client:
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
// # The map
//
//   - To begin: [CreateSocket], or [NewSocket] with [SocketOptions]; [Wrap] for a net.PacketConn you have.
//   - To receive: [Socket.Bind], then On.Message, or [Socket.OnRead], which lends the bytes and costs no
//     allocation.
//   - To send: [Socket.Send], [Socket.SendTo] for an address that is known, [Socket.SendBuffers] for a
//     message in parts; [Socket.SendQueueSize].
//   - To talk to one peer: [Socket.Connect], [Socket.Disconnect], [Socket.RemoteAddress].
//   - To talk to many: [Socket.SetBroadcast], [Socket.AddMembership],
//     [Socket.AddSourceSpecificMembership], [Socket.SetMulticastInterface], [Socket.SetMulticastTTL].
//   - To hear: the fields On, Once and Prepend ([SocketEvents]) have one method for each event; each
//     returns a [Listener] with Off.
//   - To refuse: ReceiveBlockList and SendBlockList of [SocketOptions].
//   - To end: [Socket.Close], or the Context of [SocketOptions]; [Socket.Unref].
//   - To tell errors apart: errors.Is with system errors and the sentinels below, or evnet.Code.
//
// # The order of events
//
//	listening                  // once, when bound; nothing arrives before it
//	(message* | error* | connect*)
//	close                      // always, once, last
//
// The callbacks of Send and Connect run exactly once each, before Close. No event is emitted before the
// method that causes it has returned. What a callback posts by Loop.Post runs before the next message.
//
// # Who owns the bytes
//
// What On.Message gives is yours to keep: a copy of exactly its size. What [Socket.OnRead] gives is
// borrowed until the function returns. What you send is copied.
//
// # Loss and backpressure
//
// UDP loses what nobody has room for. A socket reads only when its loop is about to deliver, at most 32
// messages in a turn, so that it neither runs ahead of the loop nor holds others up; what waits is in the
// system's buffer, whose size is [SocketOptions].ReadBuffer, and when that is full the system drops. In
// the other direction Send queues what the system does not take, up to MaxSendQueue.
//
// On Linux the loop itself serves the sockets, with recvmmsg and sendmmsg: what one turn sends leaves
// together, and an idle socket costs no goroutine and no buffer. Elsewhere a goroutine reads, one message at
// a time, and another writes while something is queued.
//
// # Errors
//
// An error of one message does not end a socket: it is told by the callback of Send, or else by On.Error.
// An error that nobody hears goes to the log, once for each code, and nothing crashes. A panic in a callback
// unwinds out of Run, as in any Go program, unless Loop.OnPanic contains it; the socket is closed with it,
// with Error and Close, and others go on.
//
// # Differences from Node
//
// Events, their order and their conditions are Node's, but for what follows.
//
//   - Binding: Bind binds before it returns and returns the error. So do the first Send, Connect and
//     AddMembership, which emit Listening too.
//   - What is wrong with a call: it is returned, as Node throws it. Before Bind, options are EBADF, as
//     in Node; after Close, all methods give ErrNotRunning, where Node has TypeErrors.
//   - Sends that fail, without a callback: On.Error is told, as Node's documentation has it; Node itself
//     says nothing of those that the system refuses.
//   - Unheard errors: they are logged; they do not end the process.
//   - Callbacks: they run exactly once; Node drops those that Close overtakes. Messages with literal
//     addresses that were sent right before Close leave.
//   - The send queue: it is bounded by MaxSendQueue.
//   - Ports: one above 65535 is an error for Bind too; Node takes it modulo 65536.
//   - Multicast groups: Bind to one binds all addresses and shares the port.
//   - Connect: messages of other senders that were received before it, and are not delivered yet, are
//     dropped. Node emits those that the kernel has queued.
//   - Disconnect: the socket keeps its port; on Linux Node's loses one that the system has chosen.
//   - Interfaces: they may be given by name.
//   - Getters: Address is the zero AddrPort before Bind, and stays readable after Close.
//   - What Run leaves: what is open but not referenced when Run ends is closed, with its Close.
//   - Off: it takes effect at once, also during an emit.
package dgram

import "net/netip"

// CreateSocket makes a socket on evnet.DefaultLoop. network is "udp4" or "udp6"; another one is
// ErrBadType. onMessage, which may be nil, is called for each message, as by On.Message. Node:
// dgram.createSocket.
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
