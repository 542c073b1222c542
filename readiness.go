package evnet

import (
	"evnet/internal/poll"
)

// readiness is the part of a loop that serves kernel sockets: one set of descriptors, one buffer.
type readiness struct {
	// Guarded by the loop's mu.
	set     *poll.Poller // nil until it is needed, and when it is not any more
	users   int          // sockets that may still touch set
	sockets []*pollTransport
	free    []int32 // slots of sockets that nobody has

	// Of the loop's owner alone.
	batch []readySocket
	at    int // batch before it is done
	buf   []byte
	call  *poll.Call
}

// readySocket is a socket with what has happened to it.
type readySocket struct {
	sock *pollTransport
	what poll.Events
}

// any reports whether there are ready sockets to be served.
func (r *readiness) any() bool { return r.at < len(r.batch) }

// pop takes the next ready socket, if there is one.
func (r *readiness) pop() task {
	if r.at == len(r.batch) {
		return task{}
	}
	next := r.batch[r.at]
	r.batch[r.at].sock = nil
	r.at++
	return task{sock: next.sock, what: next.what}
}

// look finds out which sockets are ready, once the last of those before was served. l.mu is held, and
// released meanwhile.
func (r *readiness) look(l *Loop) {
	if r.set == nil || r.users == 0 {
		return
	}
	set := r.set
	l.mu.Unlock()
	n := set.Poll()
	l.mu.Lock()
	r.fill(n)
}

// wait waits until sockets are ready, or the loop is woken. l.mu is held, and released meanwhile.
func (r *readiness) wait(l *Loop) {
	set := r.set
	l.mu.Unlock()
	n := set.Wait()
	l.mu.Lock()
	r.fill(n)
}

// fill takes up n events. A slot may have another owner by now, whom an event in vain does not harm.
func (r *readiness) fill(n int) {
	r.batch, r.at = r.batch[:0], 0
	for i := range n {
		slot, what := r.set.Event(i)
		if sock := r.sockets[slot]; sock != nil {
			r.batch = append(r.batch, readySocket{sock, what})
		}
	}
}

// join counts a socket, and makes the set if it is the first. l.mu is not held.
func (r *readiness) join(l *Loop) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.set == nil {
		set, err := poll.New()
		if err != nil {
			return false // as where there is no epoll
		}
		r.set = set
		l.rouse() // to wait in another way
	}
	r.users++
	return true
}

// part is the end of join.
func (r *readiness) part(l *Loop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.users--; !l.running {
		r.close()
	}
}

// rest gives up what a loop that nobody runs does not need. l.mu is held.
func (r *readiness) rest() {
	clear(r.batch)
	r.batch, r.at, r.buf, r.call = r.batch[:0], 0, nil, nil
	r.close()
}

// close closes the set if nobody uses it. l.mu is held.
func (r *readiness) close() {
	if r.set != nil && r.users == 0 {
		r.set.Close()
		r.set, r.sockets, r.free = nil, nil, nil
	}
}

// enter gives a socket a slot.
func (r *readiness) enter(l *Loop, t *pollTransport) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(r.free); n > 0 {
		slot := r.free[n-1]
		r.free = r.free[:n-1]
		r.sockets[slot] = t
		return slot
	}
	r.sockets = append(r.sockets, t)
	return int32(len(r.sockets) - 1)
}

// exit takes it back.
func (r *readiness) exit(l *Loop, slot int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.sockets[slot] = nil
	r.free = append(r.free, slot)
}
