package eventloop

import "sync/atomic"

// memory counts the bytes that the handles of a loop buffer, and has the limit for them. Any goroutine may use it.
type memory struct {
	buffered     atomic.Int64
	limit        atomic.Int64 // negative: none
	shares       atomic.Int32 // handles that AddBuffering has opened
	awaitingRoom atomic.Bool
}

// SetMaxBuffered sets the limit of Buffered in bytes, negative for none.
func (l *Loop) SetMaxBuffered(n int64) { l.limit.Store(n) }

// MaxBuffered returns the limit that SetMaxBuffered has set.
func (l *Loop) MaxBuffered() int64 { return l.limit.Load() }

// Buffered returns the sum of all values passed to Count.
func (l *Loop) Buffered() int64 { return l.buffered.Load() }

// IsCrowded reports whether the buffered bytes reach the given number of quarters of the limit.
func (l *Loop) IsCrowded(quarters int64) bool {
	limit := l.limit.Load()
	return limit >= 0 && l.buffered.Load() >= limit/4*quarters
}

// Share returns the bytes that each handle may buffer while the loop is crowded.
func (l *Loop) Share() int {
	return int(l.limit.Load() / 4 / max(1, int64(l.shares.Load())))
}

// IsFull reports whether a handle that buffers the given number of bytes must not buffer more.
func (l *Loop) IsFull(buffered int) bool { return l.IsCrowded(3) && buffered > l.Share() }

// AwaitRoom makes the loop call Host.RoomAvailable once, when Buffered falls below 3/8 of the limit.
func (l *Loop) AwaitRoom() { l.awaitingRoom.Store(true) }

// Count adds the change of the bytes that a handle buffers.
func (l *Loop) Count(more int) {
	buffered := l.buffered.Add(int64(more))
	if buffered < l.limit.Load()/8*3 && more < 0 && l.awaitingRoom.Load() && l.awaitingRoom.Swap(false) {
		l.Event(l.host.RoomAvailable)
	}
}
