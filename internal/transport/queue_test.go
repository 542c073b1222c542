package transport

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func newQueue() *queue { return &queue{} }

// Bytes behind a hold are not sent, and a dropped queue has nothing to send.
func TestQueue_HoldAndDrop(t *testing.T) {
	q := newQueue()
	q.append([]byte("queued before"))
	q.hold(q.added)
	q.append([]byte("and after"))
	assert.Equal(t, len("queued before"), q.sendable())
	batch, _ := q.take(100)
	require.Len(t, batch, 1)
	assert.Equal(t, "queued before", string(batch[0]))
	q.drop()
	assert.Zero(t, q.sendable())
	assert.Zero(t, q.length())
	batch, _ = q.take(100)
	assert.Empty(t, batch)
}

// A hold may start before bytes that are already queued.
func TestQueue_HoldFromAnOffset(t *testing.T) {
	q := newQueue()
	q.append([]byte("sent"))
	q.advance(4)
	q.append([]byte("leaves"))
	corked := q.added
	q.append([]byte("stays"))
	q.hold(corked)
	assert.Equal(t, len("leaves"), q.sendable())
	q.advance(6)
	assert.Zero(t, q.sendable())
	q.release()
	assert.Equal(t, len("stays"), q.sendable())
}

// raise releases the queued bytes and keeps the hold for later ones.
func TestQueue_Raise(t *testing.T) {
	q := newQueue()
	q.raise()
	assert.False(t, q.isActive(), "there is no hold")
	q.hold(q.added)
	q.append([]byte("one"))
	assert.Zero(t, q.sendable())
	q.raise()
	q.append([]byte("two"))
	assert.Equal(t, 3, q.sendable())
	q.release()
	assert.Equal(t, 6, q.sendable())
}

// The queue keeps its body as long as something is queued or held back.
func TestQueue_Settle(t *testing.T) {
	q := newQueue()
	q.settle()
	q.hold(0)
	q.settle()
	assert.True(t, q.isActive(), "a hold")
	q.append([]byte("x"))
	q.release()
	q.settle()
	assert.True(t, q.isActive(), "a byte")
	q.advance(1)
	q.settle()
	assert.False(t, q.isActive())
	assert.EqualValues(t, 1, q.acked)

	q.append([]byte("y")) // reuses a body
	assert.Equal(t, 1, q.sendable())
	assert.Equal(t, int64(math.MaxInt64), q.barrier)
	assert.EqualValues(t, 1, q.completed)
}

// Bytes that a writer has taken stay queued until they are acknowledged, and their memory is not reused before.
func TestQueue_TakeAndAck(t *testing.T) {
	q := newQueue()
	q.append([]byte("small"))
	batch, used := q.take(100)
	require.Len(t, batch, 1)
	assert.Empty(t, used, "the small segment stays with the queue")
	assert.Equal(t, 5, q.length())
	assert.Equal(t, 5, q.sendable(), "taken bytes count until they are sent")

	q.append([]byte("behind"))
	assert.Equal(t, "small", string(batch[0]))
	q.ack(2, false)
	assert.EqualValues(t, 0, q.completed)
	q.append([]byte("!"))
	assert.Equal(t, "small", string(batch[0]))
	q.ack(3, true)
	assert.EqualValues(t, 5, q.completed)

	batch, used = q.take(100)
	require.Len(t, batch, 1)
	assert.Equal(t, "behind!", string(batch[0]))
	assert.Len(t, used, 1)
	q.settle()
	assert.True(t, q.isActive(), "a writer has bytes")
	q.ack(7, true)
	q.append([]byte("next"))
	assert.Equal(t, "next", string(q.small), "the small segment is unused")
}

// take ends at a hold and at the limit, within a segment.
func TestQueue_TakeAPart(t *testing.T) {
	q := newQueue()
	q.append(bytes.Repeat([]byte("x"), largeSegment+10))
	batch, used := q.take(largeSegment - 1)
	require.Len(t, batch, 1)
	assert.Len(t, batch[0], largeSegment-1)
	assert.Empty(t, used)
	q.ack(largeSegment-1, true)
	q.hold(q.added - 4)
	batch, used = q.take(100)
	require.Len(t, batch, 2)
	assert.Len(t, batch[0], 1)
	assert.Len(t, batch[1], 6)
	assert.Len(t, used, 1, "a part of the second segment remains")
	q.ack(7, true)
	assert.Equal(t, 4, q.length())
	assert.Zero(t, q.sendable())
}

// A dropped queue does not accept bytes, and does not change the body that all dropped queues share.
func TestQueue_AppendAfterDrop(t *testing.T) {
	q := newQueue()
	q.append([]byte("x"))
	q.drop()
	q.append([]byte("y"))
	q.hold(0)
	q.raise()
	q.release()
	q.settle()
	q.ack(1, true)
	assert.Zero(t, q.length())
	assert.Zero(t, q.sendable())
	assert.Equal(t, body{}, discarded)
}

// Borrowed bytes are sent after the queued ones. The rest of them is copied.
func TestQueue_Borrow(t *testing.T) {
	for _, sent := range []int{0, 3, 5, 7, 9} {
		q := newQueue()
		q.append([]byte("queue"))
		p := []byte("late")
		q.borrow(p)
		assert.Equal(t, 9, q.sendable())
		q.advance(sent)
		q.keepDirect()
		copy(p, "????")
		assert.Equal(t, "queuelate"[sent:], contents(q))
	}
}

// contents takes all bytes of the queue.
func contents(q *queue) (got string) {
	for n := q.sendable(); n > 0; n = q.sendable() {
		p := q.piece(0)
		got += string(p)
		q.advance(len(p))
	}
	return got
}

// Bytes are sent in order and once, for any order of operations, and a writer's bytes do not change.
func TestQueue_Order(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		var want, got []byte
		next := byte(0)
		fresh := func() []byte {
			p := make([]byte, rapid.SampledFrom([]int{0, 1, 100, smallSegment, smallSegment + 1, largeSegment, 40_000}).Draw(t, "size"))
			for i := range p {
				p[i] = next
				next = next*5 + 1
			}
			want = append(want, p...)
			return p
		}
		// A writer takes bytes only while nothing is sent directly, and the other way round.
		var batch [][]byte
		var used []*[]byte
		finish := func() {
			for _, p := range batch {
				got = append(got, p...)
				q.ack(len(p), true)
			}
			for _, b := range used {
				freeSegment(b)
			}
			batch, used = nil, nil
		}
		send := func(n int) {
			for n > 0 {
				p := q.piece(0)
				k := min(n, len(p))
				got = append(got, p[:k]...)
				q.advance(k)
				n -= k
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				q.append(fresh())
			case 2:
				if len(batch) == 0 {
					batch, used = q.take(rapid.IntRange(1, 50_000).Draw(t, "limit"))
				}
			case 3:
				finish()
			case 4:
				if len(batch) == 0 {
					q.borrow(fresh())
					q.raise()
					send(rapid.IntRange(0, q.sendable()).Draw(t, "sent"))
					q.keepDirect()
				}
			case 5:
				q.hold(q.added)
			case 6:
				q.release()
			}
			if len(batch) == 0 {
				q.settle()
			}
		}
		finish()
		q.release()
		send(q.sendable())
		if !bytes.Equal(want, got) {
			t.Fatalf("%d bytes were queued, %d were sent, or their content differs", len(want), len(got))
		}
		if q.length() != 0 || q.added != int64(len(want)) || q.acked != q.added {
			t.Fatalf("length %d, added %d, acked %d", q.length(), q.added, q.acked)
		}
	})
}
