package evnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"evnet/internal/nodecode"
)

// The errors of this package. Errors of the operating system are wrapped, never replaced: errors.Is(err,
// syscall.ECONNREFUSED) and errors.As with a *net.OpError work on each error that an event or a method reports. Code
// returns Node's code for any of them.
var (
	// ErrWriteAfterEnd is returned by Write after End, Close or the automatic end that follows the peer's. The socket
	// continues to read. It does not match net.ErrClosed.
	ErrWriteAfterEnd error = coded("evnet: write after end", "ERR_STREAM_WRITE_AFTER_END", nil)
	// ErrSocketClosed is returned by Write on a socket that was never connected. It matches
	// net.ErrClosed.
	ErrSocketClosed error = coded("evnet: socket is not connected", "ERR_SOCKET_CLOSED", net.ErrClosed)
	// ErrDestroyed is returned by Write after Destroy, Reset or a failure. It is reported to the callbacks of writes
	// whose bytes Destroy discards. It matches net.ErrClosed.
	ErrDestroyed error = coded("evnet: socket was destroyed", "ERR_STREAM_DESTROYED", net.ErrClosed)
	// ErrClosedBeforeConnect is reported to the callbacks of writes made during Connect if no connection is established.
	// It matches net.ErrClosed.
	ErrClosedBeforeConnect error = coded("evnet: socket closed before the connection was established", "ERR_SOCKET_CLOSED_BEFORE_CONNECTION", net.ErrClosed)
	// ErrWriteBufferFull is returned by Write if the queued bytes have reached SocketOptions.MaxWriteBuffer, or if the
	// socket is above its share of Loop.SetMaxBuffered.
	ErrWriteBufferFull error = coded("evnet: write buffer is full", "ENOBUFS", nil)
	// ErrMaxBuffered is the cause if a socket buffers more than its share for too long while its loop has reached its
	// limit: see Loop.SetMaxBuffered.
	ErrMaxBuffered error = errors.New("evnet: buffer limit of the loop reached: socket exceeds its share")
	// ErrAlreadyConnected is the cause if Connect is called on a socket that is connecting or connected. It matches
	// syscall.EISCONN.
	ErrAlreadyConnected error = coded("evnet: socket is already connecting or connected", "EISCONN", syscall.EISCONN)
	// ErrAlreadyTLS is the cause if StartTLS is called on a socket that uses TLS or is upgrading to it.
	ErrAlreadyTLS error = errors.New("evnet: socket already uses TLS")
	// ErrServerAlreadyListening is returned by Listen and Serve on a server that is listening.
	ErrServerAlreadyListening error = coded("evnet: server is already listening", "ERR_SERVER_ALREADY_LISTEN", nil)
	// ErrServerNotRunning is returned by Close and Shutdown on a server that is not listening.
	ErrServerNotRunning error = coded("evnet: server is not running", "ERR_SERVER_NOT_RUNNING", nil)
	// ErrUnknownEncoding is returned by SetEncoding for an unknown name.
	ErrUnknownEncoding error = coded("evnet: unknown encoding", "ERR_UNKNOWN_ENCODING", nil)
	// ErrInvalidTimeout is returned by SetTimeout for a negative duration.
	ErrInvalidTimeout error = coded("evnet: timeout is negative", "ERR_OUT_OF_RANGE", nil)
	// ErrBlocked is the cause if an address to connect to is on SocketOptions.BlockList.
	ErrBlocked error = coded("evnet: address is on the block list", "ERR_IP_BLOCKED", nil)
	// ErrInvalidAddress is returned by BlockList for an invalid IP address and for a text that is not a rule.
	ErrInvalidAddress error = coded("evnet: not an IP address", "ERR_INVALID_ADDRESS", nil)
	// ErrInvalidRange is returned by BlockList for a range whose addresses have different families, or whose first
	// address is greater than its last.
	ErrInvalidRange error = coded("evnet: not a range of addresses", "ERR_INVALID_ARG_VALUE", nil)
	// ErrInvalidPrefix is returned by BlockList for a prefix that is longer than its address, or negative.
	ErrInvalidPrefix error = coded("evnet: prefix length is out of range", "ERR_OUT_OF_RANGE", nil)
	// ErrConsumed is returned by OnRead, Scan and BlockingConn, reported by Listener.Err for On.Data, and yielded by
	// Chunks, if the socket has another consumer and one of the two is exclusive.
	ErrConsumed error = coded("evnet: socket has another consumer", "ERR_INVALID_STATE", nil)
	// ErrProducing is reported by Produce on a socket that has a producer.
	ErrProducing error = coded("evnet: socket has a producer", "ERR_INVALID_STATE", nil)
	// ErrUnshiftAfterEnd is returned by Unshift after End was emitted.
	ErrUnshiftAfterEnd error = coded("evnet: unshift after the end", "ERR_STREAM_UNSHIFT_AFTER_END_EVENT", nil)
	// ErrNilArgument is returned, or reported by Listener.Err or a callback, if a required callback, conn, listener or writer is nil.
	ErrNilArgument error = coded("evnet: nil argument", "ERR_INVALID_ARG_TYPE", nil)
	// ErrLoopRunning is returned by Serve, and is the value that Run panics with, if the loop is already running.
	ErrLoopRunning error = errors.New("evnet: loop is already running")
	// ErrLoopStopped is the cause for sockets and servers that are started while Serve is stopping. It matches
	// net.ErrClosed.
	ErrLoopStopped error = &nodecode.Error{Text: "evnet: loop is stopping", Cause: net.ErrClosed}
	// ErrWritesQueued is the cause if Detach is called while written bytes are queued.
	ErrWritesQueued error = errors.New("evnet: writes are queued")
	// ErrRelayed is reported by Relay for a socket that is already in a relay, and returned by Detach and StartTLS for
	// such a socket.
	ErrRelayed error = errors.New("evnet: socket is in a relay")
	// ErrOnLoop is returned by methods that would block, if they are called from a callback.
	ErrOnLoop error = errors.New("evnet: blocking call from a callback")
)

// nilArgument returns the error for a required argument of a method that is nil.
func nilArgument(method, what string) error {
	return fmt.Errorf("%w: %s: %s", ErrNilArgument, method, what)
}

// coded returns a sentinel with Node's code for it. errors.Is finds the cause, if any, which the text does not show.
func coded(text, code string, cause error) error {
	return &nodecode.Error{Text: text, Code: code, Cause: cause}
}

// Code returns Node's code for err, such as "ECONNREFUSED" or "ERR_STREAM_WRITE_AFTER_END", and "" if err is nil or Node
// has no code for it. For a ConnectError it is the code of the first attempt. Any goroutine may call it.
//
// An error of the operating system has its name, also one that Node does not know and reports as "UNKNOWN", such as
// "EDQUOT". A failure of TLS has OpenSSL's code, or "EPROTO" if package tls does not report the reason. A server that
// refuses the certificate of a client reports the same code as a client does, and not "ECONNRESET".
//
// Node: error.code.
func Code(err error) string {
	var all *ConnectError
	if errors.As(err, &all) && len(all.Errs) > 0 {
		return Code(all.Errs[0])
	}
	return nodecode.Of(err)
}

// wrappedError is an error whose cause is not part of its text.
type wrappedError struct {
	text  string
	cause error
}

func (e wrappedError) Error() string { return e.text }
func (e wrappedError) Unwrap() error { return e.cause }

// ConnectError is the cause if every address of a host has failed. The Error event and Socket.Err report it; it does not
// change afterwards. errors.Is and errors.As find the error of each attempt.
//
// Node: AggregateError.
type ConnectError struct {
	Host string  // the host name that was looked up
	Errs []error // one for each attempt, in the order of failure, and one for each blocked address
}

// Error returns a text that lists the errors of the attempts.
func (e *ConnectError) Error() string {
	texts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		texts[i] = err.Error()
	}
	return fmt.Sprintf("evnet: all %d addresses of %q failed: %s", len(e.Errs), e.Host, strings.Join(texts, "; "))
}

// Unwrap returns the errors of the attempts.
func (e *ConnectError) Unwrap() []error { return e.Errs }

// textAddr is an address that was not resolved.
type textAddr struct{ network, address string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.address }

// errConnectTimeout is the cause when IdleTimeout or MaxLifetime ends a socket that is still connecting.
var errConnectTimeout error = deadlineError{coded("timeout before the connection was established", "ERR_SOCKET_CONNECTION_TIMEOUT",
	os.ErrDeadlineExceeded)}

// deadlineError makes a sentinel a net.Error whose Timeout method returns true.
type deadlineError struct{ error }

func (e deadlineError) Timeout() bool   { return true }
func (e deadlineError) Temporary() bool { return true }
func (e deadlineError) Unwrap() error   { return e.error }

// PanicError is a panic in a callback, a Resolver, a Dialer, a TLS handshake, a method of a conn that the goroutine
// transport serves, or a listener. The socket that it belongs to is destroyed with it as the cause. If it was a listener's
// Accept, the server emits it as Error and closes.
//
// Without Loop.OnPanic a panic in a callback is not contained and continues to unwind. Value and Stack then do not
// describe it.
type PanicError struct {
	Value  any     // the argument of panic
	Stack  []byte  // the stack of the callback, as runtime/debug.Stack prints it
	Socket *Socket // the socket that the callback belongs to, or nil
}

// Error returns a text with the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("evnet: panic in a callback: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
