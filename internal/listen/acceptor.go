package listen

import (
	"errors"
	"net"
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
	// Accepted takes over a connection: the owner closes it. It may block, which holds up accepting. The
	// acceptor may have been closed meanwhile.
	Accepted(net.Conn)
	// AcceptFailed reports an error after which the acceptor tries again.
	AcceptFailed(error)
}

// Acceptor accepts connections from one listener and gives them to its owner. NewAcceptor makes one.
type Acceptor struct {
	ln     net.Listener
	owner  Owner
	closed chan struct{}
}

// NewAcceptor returns an acceptor of any listener, which belongs to it from then on. It accepts nothing before
// Run.
func NewAcceptor(ln net.Listener, owner Owner) *Acceptor {
	return &Acceptor{ln: ln, owner: owner, closed: make(chan struct{})}
}

// Addr returns the address of the listener.
func (a *Acceptor) Addr() net.Addr { return a.ln.Addr() }

// Run accepts until Close, after which it returns nil, or until a permanent error, which it returns. It blocks;
// the owner gives it a goroutine. A panic or a runtime.Goexit of the listener's Accept passes through Run: the
// owner contains it.
func (a *Acceptor) Run() error {
	pause := firstPause
	for {
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

// wait reports false if the acceptor is closed meanwhile.
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

// Close closes the listener and ends Run, also in its pause after an error. Call it once, from any goroutine.
// What the listener's Close returns, or raises, passes through.
func (a *Acceptor) Close() error {
	close(a.closed)
	return a.ln.Close()
}
