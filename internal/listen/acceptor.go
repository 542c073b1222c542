package listen

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// The pause after a failed Accept: it doubles from one failure to the next.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

var errNoConn = errors.New("evnet: accept: the listener returned neither a connection nor an error")

// Owner receives what an Acceptor accepts. Run calls the methods on its own goroutine, one at a time.
type Owner interface {
	// Accepted takes over a connection. The owner closes it. Accepted may block, which delays accepting. The acceptor
	// may have been closed meanwhile.
	Accepted(net.Conn)
	// AcceptFailed reports an error after which the acceptor retries.
	AcceptFailed(error)
}

// Acceptor accepts connections from one listener and gives them to its owner. NewAcceptor makes one.
type Acceptor struct {
	ln     net.Listener
	owner  Owner
	closed chan struct{}
}

// NewAcceptor returns an acceptor for any listener, and takes over the listener. It accepts nothing before Run.
func NewAcceptor(ln net.Listener, owner Owner) *Acceptor {
	return &Acceptor{ln: ln, owner: owner, closed: make(chan struct{})}
}

// Addr returns the address of the listener.
func (a *Acceptor) Addr() net.Addr { return a.ln.Addr() }

// Listener returns the listener.
func (a *Acceptor) Listener() net.Listener { return a.ln }

// Run accepts until Close, after which it returns nil, or until a permanent error, which it returns. It blocks, so the
// owner calls it on a separate goroutine. A panic or a runtime.Goexit of the listener's Accept passes through Run. The
// owner contains it.
func (a *Acceptor) Run() error {
	pause := firstPause
	raw := descriptorOf(a.ln)
	for {
		if raw != nil {
			setNonblocking(raw)
		}
		conn, err := a.ln.Accept()
		if err == nil && conn == nil {
			err = errNoConn
		}
		if err == nil {
			pause = firstPause
			a.owner.Accepted(conn)
			continue
		}
		select {
		case <-a.closed:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) { // the program closed the listener, not Close
			return err
		}
		a.owner.AcceptFailed(err)
		if !a.wait(pause) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// descriptorOf returns the descriptor of a listener, nil if it has none.
func descriptorOf(ln net.Listener) syscall.RawConn {
	if c, ok := ln.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// wait waits for the pause. It returns false if the acceptor is closed meanwhile.
func (a *Acceptor) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.closed:
		return false
	}
}

// Close closes the listener and ends Run, even during its pause after an error. Call it once, from any goroutine. It
// returns the error of the listener's Close, and does not contain its panic. It may block: a kernel listener waits for an
// Accept that blocks in the kernel, and any other listener may wait for anything.
func (a *Acceptor) Close() error {
	close(a.closed)
	return a.ln.Close()
}
