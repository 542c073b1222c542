package eventloop

// Reasons for Run not to return: open handles, goroutines, and calls of Ref.

// Ref keeps Run from returning until Unref has been called as often.
func (l *Loop) Ref() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.externalRefs++
	l.leaving, l.grace = false, 0
}

// Unref undoes one Ref, if there is one.
func (l *Loop) Unref() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.externalRefs = max(l.externalRefs-1, 0)
	l.wakeLocked()
}

// Add opens h. If h is referenced, it keeps Run from returning. Add does nothing if h is already open. While Serve ends,
// Add adds nothing and returns false. While Run ends, it does so for a handle that is not referenced.
func (l *Loop) Add(h Handle, m *Member, isReferenced bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addLocked(h, m, isReferenced, 0)
}

// AddBuffering is Add for a handle that gets a share of the bytes that the loop may buffer: see Share.
func (l *Loop) AddBuffering(h Handle, m *Member, isReferenced bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addLocked(h, m, isReferenced, buffering)
}

func (l *Loop) addLocked(h Handle, m *Member, isReferenced bool, bits int32) bool {
	if l.stopping || l.leaving && !isReferenced {
		return false
	}
	if m.v == 0 {
		m.v = l.handles.put(h)*slotUnit | bits
		if m.has(buffering) {
			l.shares.Add(1)
		}
		l.setRefLocked(m, isReferenced)
	}
	return true
}

// Remove closes a handle that Add has opened. It does nothing if the handle is not open.
func (l *Loop) Remove(m *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(m)
}

// RemoveIfEnding is Remove if the loop is ending, so that the loop does not wait for another loop.
func (l *Loop) RemoveIfEnding(m *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping || l.leaving {
		l.removeLocked(m)
	}
}

func (l *Loop) removeLocked(m *Member) {
	if m.v == 0 {
		return
	}
	l.setRefLocked(m, false)
	if m.has(buffering) {
		l.shares.Add(-1)
	}
	l.handles.take(m.Slot())
	m.v = 0
	l.wakeLocked()
}

// SetRef changes whether a handle keeps Run from returning. It does nothing if the handle is not open.
func (l *Loop) SetRef(m *Member, isReferenced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changeRefLocked(m, isReferenced)
}

func (l *Loop) changeRefLocked(m *Member, isReferenced bool) {
	if m.v != 0 {
		l.setRefLocked(m, isReferenced)
		l.wakeLocked()
	}
}

func (l *Loop) setRefLocked(m *Member, isReferenced bool) {
	switch {
	case isReferenced == m.has(referenced):
	case isReferenced:
		m.v |= referenced
		l.refs++
		l.leaving, l.grace = false, 0 // even if Run was about to return
	default:
		m.v &^= referenced
		l.refs--
	}
}

// Go runs fn on a goroutine. Run does not return before fn has returned and the functions that it posted have run.
func (l *Loop) Go(fn func()) {
	done := l.Expect()
	go func() {
		defer done()
		fn()
	}()
}

// Expect keeps Run from returning until done is called, once.
func (l *Loop) Expect() (done func()) {
	l.mu.Lock()
	l.workers++
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.workers--
		l.wakeLocked()
		l.mu.Unlock()
	}
}
