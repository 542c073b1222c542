package evnet

import (
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
)

// What the user has supplied to be called off the loop, and what may be wrong with it.

var errGoexit = errors.New("runtime.Goexit was called")

// supply runs what the user has supplied on a goroutine of its own, then told on the loop.
func (s *Socket) supply(fn func() error, told func(error)) {
	s.set.Loop.spawn(func() {
		contain(s, fn, func(err error) { s.set.Loop.event(func() { told(err) }) })
	})
}

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

// contain runs fn, then told, whatever becomes of fn: nobody else could contain a panic on this
// goroutine, or hear of a runtime.Goexit. s is the socket it belongs to, or nil.
func contain(s *Socket, fn func() error, told func(error)) {
	var err error
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if v == nil {
				v = errGoexit
			}
			err = &PanicError{Value: v, Stack: debug.Stack(), Socket: s}
		}
		told(err)
	}()
	err = fn()
	returned = true
}
