package eventloop

// Member is the membership of one handle in one loop: its slot in the table of open handles, and whether it is
// referenced. The zero value belongs to a handle that is not open. Two locks guard it: the loop's, and the lock with which
// the handle's owner adds and removes it.
type Member struct{ v int32 }

// The bits of Member.v below the slot.
const (
	referenced int32 = 1 << iota // the handle keeps Run from returning
	buffering                    // the handle has a share of the bytes that the loop may buffer
	slotUnit                     // 1 in the slot
)

// Slot returns the number of the handle in the table, 0 if it is not open.
func (m *Member) Slot() int { return int(m.v / slotUnit) }

func (m *Member) has(bit int32) bool { return m.v&bit != 0 }

// table has the open handles, each in its own slot. Slots are numbered from 1. A table is smaller than a map and costs the
// garbage collector less time. The zero value is empty.
type table struct {
	list []Handle // at slot - 1; nil in a free slot
	free []int32  // the free slots
}

func (t *table) len() int { return len(t.list) - len(t.free) }

// put adds h and returns its slot.
func (t *table) put(h Handle) int32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		t.list[slot-1] = h
		return slot
	}
	t.list = append(t.list, h)
	return int32(len(t.list))
}

// at returns the handle in the slot, nil if there is none.
func (t *table) at(slot int) Handle {
	if slot < 1 || slot > len(t.list) {
		return nil
	}
	return t.list[slot-1]
}

// take frees a slot. It releases the memory of a table that has become empty.
func (t *table) take(slot int) {
	t.list[slot-1] = nil
	t.free = append(t.free, int32(slot))
	if t.len() == 0 {
		*t = table{}
	}
}

// all returns the open handles, sources last: a listener is closed before the connections that it has accepted.
func (t *table) all() []Handle {
	open := make([]Handle, 0, t.len())
	var sources []Handle
	for _, h := range t.list {
		if _, ok := h.(Source); ok {
			sources = append(sources, h)
		} else if h != nil {
			open = append(open, h)
		}
	}
	return append(open, sources...)
}
