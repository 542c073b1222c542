package evnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// The errors evnet makes itself. System errors are never replaced: they are wrapped, so that
// errors.Is(err, syscall.ECONNREFUSED) and errors.As(err, *net.OpError) work on what an Error
// event or a method hands over. Code gives the Node spelling of any of them.
var (
	// ErrWriteAfterEnd is returned by Write once End, Close or the automatic end after the
	// peer's end has closed this side. The socket goes on reading.
	ErrWriteAfterEnd error = errors.New("evnet: write after end")
	// ErrSocketClosed is returned by Write on a socket that was never connected. It matches
	// net.ErrClosed.
	ErrSocketClosed error = closedError("evnet: socket is not connected")
	// ErrDestroyed is returned by Write after Destroy, Reset or a failure, and is what queued
	// writes get when Destroy drops them. It matches net.ErrClosed.
	ErrDestroyed error = closedError("evnet: socket was destroyed")
	// ErrClosedBeforeConnect is what writes queued during Connect get when the connection never
	// came. It matches net.ErrClosed.
	ErrClosedBeforeConnect error = closedError("evnet: socket closed before the connection was made")
	// ErrWriteBufferFull is returned by Write when the bytes already queued have reached
	// SocketOptions.MaxWriteBuffer.
	ErrWriteBufferFull error = errors.New("evnet: write buffer is full")
	// ErrMaxBuffered is the cause when a socket has held more than its share for too long while its loop was short
	// of room: see Loop.SetMaxBuffered.
	ErrMaxBuffered error = errors.New("evnet: the loop buffers too much, and the socket more than its share")
	// ErrAlreadyConnected is the cause when Connect is called on a socket that is connecting
	// or connected. It matches syscall.EISCONN.
	ErrAlreadyConnected error = wrappedError{"evnet: socket is already connecting or connected", syscall.EISCONN}
	// ErrAlreadyTLS is the cause when StartTLS is called on a socket that speaks TLS, or is about to.
	ErrAlreadyTLS error = errors.New("evnet: socket speaks TLS already")
	// ErrServerAlreadyListening is returned by Listen and Serve on a server that listens.
	ErrServerAlreadyListening error = errors.New("evnet: server is already listening")
	// ErrServerNotRunning is returned by Close and Shutdown on a server that does not listen.
	ErrServerNotRunning error = errors.New("evnet: server is not running")
	// ErrUnknownEncoding is returned by SetEncoding for a name that is no encoding.
	ErrUnknownEncoding error = errors.New("evnet: unknown encoding")
	// ErrInvalidTimeout is returned by SetTimeout for a negative duration.
	ErrInvalidTimeout error = errors.New("evnet: time-out is negative")
	// ErrBlocked is the cause when SocketOptions.BlockList has an address that was to be connected
	// to.
	ErrBlocked error = errors.New("evnet: address is on the block list")
	// ErrInvalidAddress is returned by BlockList for what is no IP address, and for a text that is
	// no rule.
	ErrInvalidAddress error = errors.New("evnet: not an IP address")
	// ErrInvalidRange is returned by BlockList for a range of two families, or one whose first
	// address is above its last.
	ErrInvalidRange error = errors.New("evnet: not a range of addresses")
	// ErrInvalidPrefix is returned by BlockList for a prefix longer than its address, or negative.
	ErrInvalidPrefix error = errors.New("evnet: prefix length is out of range")
	// ErrConsumed is returned by OnRead, Scan and BlockingConn, kept in Listener.Err by On.Data, and
	// yielded by Chunks, when the socket has a consumer that does not share.
	ErrConsumed error = errors.New("evnet: socket has another consumer")
	// ErrUnshiftAfterEnd is returned by Unshift once End was emitted.
	ErrUnshiftAfterEnd error = errors.New("evnet: unshift after the end")
	// ErrNilArgument is returned, or kept in Listener.Err, where nil was given for a callback,
	// a conn, a listener or a writer that is required.
	ErrNilArgument error = errors.New("evnet: nil argument")
	// ErrLoopRunning is returned by Serve, and is what Run panics with, when the loop already
	// runs.
	ErrLoopRunning error = errors.New("evnet: loop is already running")
	// ErrLoopStopped is the cause of sockets and servers started while Serve is ending.
	ErrLoopStopped error = closedError("evnet: loop is stopping")
	// ErrWritesQueued is the cause when Detach is called while written bytes still wait.
	ErrWritesQueued error = errors.New("evnet: writes are queued")
	// ErrRelayed is what Relay tells of a socket that is in a relay already, and Detach of one
	// that is in any.
	ErrRelayed error = errors.New("evnet: socket is in a relay")
	// ErrOnLoop is returned by methods that would block when they are called from a callback.
	ErrOnLoop error = errors.New("evnet: blocking call from a callback")
)

// nilArgument says where nil was given, and for what.
func nilArgument(method, what string) error {
	return fmt.Errorf("%w: %s: %s", ErrNilArgument, method, what)
}

// closedError is a sentinel that errors.Is also takes for net.ErrClosed.
type closedError string

func (e closedError) Error() string        { return string(e) }
func (e closedError) Is(target error) bool { return target == net.ErrClosed }

// wrappedError is a sentinel with a cause that does not show in its text.
type wrappedError struct {
	text  string
	cause error
}

func (e wrappedError) Error() string { return e.text }
func (e wrappedError) Unwrap() error { return e.cause }

// ConnectError is the cause when every address of a host was tried and failed. It is a value
// that a socket's Error event and Err hand over; nothing of it changes afterwards.
//
// errors.Is and errors.As see each attempt's error. Node: AggregateError.
type ConnectError struct {
	Host string  // the host name that was looked up
	Errs []error // one error for each attempt, as they failed; an address that is blocked has its own
}

// Error lists the attempts.
func (e *ConnectError) Error() string {
	texts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		texts[i] = err.Error()
	}
	return fmt.Sprintf("evnet: all %d addresses of %q failed: %s", len(e.Errs), e.Host, strings.Join(texts, "; "))
}

// Unwrap returns the errors of the attempts.
func (e *ConnectError) Unwrap() []error { return e.Errs }

// connectTimeout is the cause when IdleTimeout or MaxLifetime ends a socket that is still connecting.
type connectTimeout struct{}

func (connectTimeout) Error() string   { return "the connection was not made in time" }
func (connectTimeout) Timeout() bool   { return true }
func (connectTimeout) Temporary() bool { return true }
func (connectTimeout) Unwrap() error   { return os.ErrDeadlineExceeded }

// PanicError is a panic that a callback raised, or a Resolver, a Dialer, a TLS handshake, a method of a
// conn that goroutines serve, or a listener. The socket it belonged to is destroyed with it; a server whose
// listener's Accept it was emits it as Error and closes. Without Loop.OnPanic, which contains the panic of a
// callback, Value and Stack are those of no panic: they go with it.
type PanicError struct {
	Value  any     // what was given to panic
	Stack  []byte  // the stack of the callback, as runtime/debug.Stack prints it
	Socket *Socket // the socket whose callback it was, or nil
}

// errUnwound is the value of a PanicError when the panic went on to unwind out of Run.
var errUnwound = errors.New("it has unwound out of Run")

// Error gives the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("evnet: panic in a callback: %v", e.Value) }

// Unwrap returns the value when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
