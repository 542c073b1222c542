package evnet

import (
	"log/slog"
	"net"
)

// What the user has supplied to be called off the loop, and what may be wrong with it.

// closeConn closes a conn that belongs to no socket; one of any kind aside, for that may block or panic.
func (set *settings) closeConn(conn net.Conn) {
	if isKernelConn(conn) {
		_ = conn.Close()
		return
	}
	set.Loop.spawn(func() { contain(nil, conn.Close, set.connClosed) })
}

// connClosed is told what closing a conn of any kind has answered, which is nobody's business any more but
// for a panic.
func (set *settings) connClosed(err error) {
	if _, panicked := err.(*PanicError); panicked {
		set.Loop.event(func() { // the Logger's own panic is for the loop to deal with
			if r, ok := set.record(slog.LevelWarn); ok {
				r.Write("evnet: closing a conn has panicked", "err", err)
			}
		})
	}
}
