package evnet

// slots is a table of sockets, each at a number of its own, from 1 on: it is smaller than a map, and
// the collector is through with it sooner. The zero value is empty.
type slots struct {
	list []*Socket // at number - 1; nil where there is none
	free []int32   // such numbers
}

func (t *slots) len() int { return len(t.list) - len(t.free) }

// put enters s and returns its number.
func (t *slots) put(s *Socket) int32 {
	if n := len(t.free); n > 0 {
		at := t.free[n-1]
		t.free = t.free[:n-1]
		t.list[at-1] = s
		return at
	}
	t.list = append(t.list, s)
	return int32(len(t.list))
}

// at returns the socket with that number, nil if there is none.
func (t *slots) at(number int32) *Socket {
	if number < 1 || int(number) > len(t.list) {
		return nil
	}
	return t.list[number-1]
}

// take removes the one with that number. The table of those that have all gone is given back.
func (t *slots) take(number int32) {
	t.list[number-1] = nil
	t.free = append(t.free, number)
	if t.len() == 0 {
		*t = slots{}
	}
}

// each calls fn for every socket.
func (t *slots) each(fn func(*Socket)) {
	for _, s := range t.list {
		if s != nil {
			fn(s)
		}
	}
}
