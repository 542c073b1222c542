package evnet

// What keeps Run going: open sockets, servers and timers, goroutines, and calls of Ref.

// handle is something open that a loop may have to end.
type handle interface {
	// halt closes it; its Close event, if it has one, follows on the loop.
	halt()
}

// Ref keeps Run going for work outside evnet, until Unref has been called as often as Ref.
func (l *Loop) Ref() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held++
	l.leaving, l.grace = false, 0
}

// Unref takes back one Ref. Once too often it does nothing.
func (l *Loop) Unref() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = max(l.held-1, 0)
	l.rouse()
}

// haltAll ends everything open. l.mu is held, and released meanwhile.
func (l *Loop) haltAll() {
	open := make([]handle, 0, l.opened())
	for h := range l.open {
		open = append(open, h)
	}
	l.sockets.each(func(s *Socket) { open = append(open, s) })
	l.mu.Unlock()
	defer l.mu.Lock()
	for _, h := range open {
		l.call(task{fn: h.halt}) // it may come to a Logger, which may panic
	}
	l.flush()
}

// opened is how many handles and sockets are open. l.mu is held.
func (l *Loop) opened() int { return len(l.open) + l.sockets.len() }

// addSocket makes s keep Run going, if it is referenced. It reports false when the loop takes nothing
// new.
func (l *Loop) addSocket(s *Socket, referenced bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopping || l.leaving && !referenced:
		return false
	case s.slot == 0:
		s.slot = l.sockets.put(s)
		l.openSockets.Add(1)
		l.countRef(s, referenced)
	}
	return true
}

func (l *Loop) removeSocket(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.slot != 0 {
		l.countRef(s, false)
		l.openSockets.Add(-1)
		l.sockets.take(s.slot)
		s.slot = 0
		l.rouse()
	}
}

// refSocket changes whether s, if it is open, keeps Run going.
func (l *Loop) refSocket(s *Socket, referenced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.slot != 0 {
		l.countRef(s, referenced)
		l.rouse()
	}
}

// countRef notes whether s keeps Run going. l.mu is held.
func (l *Loop) countRef(s *Socket, referenced bool) {
	switch {
	case referenced == s.counted:
	case referenced:
		l.refer()
	default:
		l.refs--
	}
	s.counted = referenced
}

// refer counts something that keeps Run going, also where it was about to return. l.mu is held.
func (l *Loop) refer() {
	l.refs++
	l.leaving, l.grace = false, 0
}

// add makes h keep Run going, if it is referenced. It reports false when the loop takes nothing new.
func (l *Loop) add(h handle, referenced bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enroll(h, referenced)
}

// enroll is add with l.mu held.
func (l *Loop) enroll(h handle, referenced bool) bool {
	if l.stopping || l.leaving && !referenced {
		return false
	}
	if _, ok := l.open[h]; !ok {
		l.open[h] = referenced
		if _, ok := h.(guest); ok {
			l.openSockets.Add(1)
		}
		if referenced {
			l.refer()
		}
	}
	return true
}

func (l *Loop) remove(h handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(h)
}

// removeIfEnding is remove for a loop that takes nothing new: it need not wait for another one.
func (l *Loop) removeIfEnding(h handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping || l.leaving {
		l.drop(h)
	}
}

// drop is remove with l.mu held.
func (l *Loop) drop(h handle) {
	referenced, ok := l.open[h]
	if referenced {
		l.refs--
	}
	if _, socket := h.(guest); ok && socket {
		l.openSockets.Add(-1)
	}
	delete(l.open, h)
	l.rouse()
}

// setRef changes whether h, if it is open, keeps Run going.
func (l *Loop) setRef(h handle, referenced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setRefLocked(h, referenced)
}

// setRefLocked is setRef with l.mu held.
func (l *Loop) setRefLocked(h handle, referenced bool) {
	if was, ok := l.open[h]; ok && was != referenced {
		l.open[h] = referenced
		if referenced {
			l.refer()
		} else {
			l.refs--
		}
		l.rouse()
	}
}

// spawn runs fn on a goroutine that Run outlives. What fn posts last is still run.
func (l *Loop) spawn(fn func()) {
	done := l.expect()
	go func() {
		defer done()
		fn()
	}()
}

// expect keeps Run from returning until what it returns is called: something will be posted first.
func (l *Loop) expect() (done func()) {
	l.mu.Lock()
	l.workers++
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.workers--
		l.rouse()
		l.mu.Unlock()
	}
}
