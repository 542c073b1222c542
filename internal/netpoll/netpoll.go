// Package netpoll waits for many sockets and makes nonblocking system calls on them. It is a thin layer over epoll. On
// systems other than Linux, New and NewSplicePipe fail.
//
// A Poller reports which descriptors are ready, by the slots under which they were registered. A Call reads, writes and
// registers. It uses a descriptor through its syscall.RawConn, whose lock prevents the use of a closed descriptor. Only one
// goroutine at a time, which runs an event loop, may use them. Poller.Wake may be called from any goroutine.
//
// The package has no locks. It does not know the meaning of a slot, or the owner and lifetime of a connection.
package netpoll

import "os"

// Enabled reports whether kernel sockets are served by epoll, where that is possible. EVNET_TRANSPORT=goroutine in the
// environment disables it, for comparison. Tests change it while no socket is open.
var Enabled = os.Getenv("EVNET_TRANSPORT") != "goroutine"
