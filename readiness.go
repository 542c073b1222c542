package evnet

import (
	"time"

	"evnet/internal/netpoll"
)

const maxStray = 100 // a few are natural: of sockets that were destroyed in the turn before

// readiness is the part of a loop that serves kernel sockets: one set of descriptors, one buffer.
type readiness struct {
	// Guarded by the loop's mu.
	set   *netpoll.Poller       // nil until it is needed, and when it is not any more
	users int                   // sockets that may still touch set
	tubes []*netpoll.SplicePipe // empty ones
	lent  int                   // the others

	// Of the loop's owner alone.
	batch []task
	at    int // batch before it is done
	stray int // how often in a row there were events, and all of no socket
	buf   []byte
	call  *netpoll.Call
}

// any reports whether there are ready sockets to be served.
func (r *readiness) any() bool { return r.at < len(r.batch) }

// pop takes the next ready socket, if there is one.
func (r *readiness) pop() task {
	if r.at == len(r.batch) {
		return task{}
	}
	next := r.batch[r.at]
	r.batch[r.at].sock, r.batch[r.at].fn = nil, nil
	r.at++
	return next
}

// look finds out which sockets are ready, once the last of those before was served. l.mu is held, and
// released meanwhile.
func (r *readiness) look(l *Loop) {
	if r.set == nil || r.users == 0 {
		return
	}
	set := r.set
	l.mu.Unlock()
	n := set.PollBusy()
	l.mu.Lock()
	r.fill(l, n)
}

// wait waits until sockets are ready, or the loop is woken. l.mu is held, and released meanwhile.
func (r *readiness) wait(l *Loop) {
	set := r.set
	l.mu.Unlock()
	n := set.Wait()
	l.mu.Lock()
	r.fill(l, n)
	if n == 0 || r.any() {
		r.stray = 0
	} else {
		r.calm(l)
	}
}

// calm keeps the loop from running hot when events of no socket keep coming. They do for a conn that was
// closed behind its socket's back while a copy of its descriptor lives on: nobody can take that out of the
// set any more. l.mu is held, and released meanwhile.
func (r *readiness) calm(l *Loop) {
	if r.stray++; r.stray > maxStray {
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
		l.mu.Lock()
	}
}

// fill takes up n events. A slot may have another owner by now, whom an event in vain does not harm.
func (r *readiness) fill(l *Loop, n int) {
	r.batch, r.at = r.batch[:0], 0
	for i := range n {
		slot, what := r.set.Event(i)
		if slot < 0 {
			if w := l.watches[-1-slot]; w != nil {
				w.what = what
				r.batch = append(r.batch, task{fn: w.run})
			}
		} else if s := l.sockets.at(int32(slot)); s != nil {
			r.batch = append(r.batch, task{sock: s, what: what})
		}
	}
}

// join counts a socket, and makes the set if it is the first. l.mu is not held.
func (r *readiness) join(l *Loop) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.set == nil {
		set, err := netpoll.New()
		if err != nil {
			return false // as where there is no epoll
		}
		r.set = set
		l.rouse() // to wait in another way
	}
	r.users++
	return true
}

// giveWay lets goroutines that accept, and such, come to their turn soon. The caller is on the loop.
func (r *readiness) giveWay(l *Loop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.set != nil {
		r.set.SkipSpins()
	}
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
	r.batch, r.at, r.stray, r.buf, r.call = r.batch[:0], 0, 0, nil, nil
	for _, tube := range r.tubes {
		tube.Close()
	}
	r.tubes = nil
	r.close()
}

// close closes the set if nobody uses it. l.mu is held.
func (r *readiness) close() {
	if r.set != nil && r.users == 0 {
		r.set.Close()
		r.set = nil
	}
}
