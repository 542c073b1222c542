package eventloop

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTable_UsesSlotsAgain(t *testing.T) {
	l := newLoop()
	handles := make([]*fakeHandle, 3)
	for i := range handles {
		handles[i] = &fakeHandle{l: l}
		require.True(t, handles[i].add(i == 1))
		assert.Equal(t, i+1, handles[i].member.Slot())
	}
	assert.Equal(t, 1, l.refs)
	l.Remove(&handles[1].member)
	l.Remove(&handles[1].member)
	assert.Zero(t, l.refs)
	assert.Zero(t, handles[1].member.Slot())
	assert.Nil(t, l.handles.at(2))
	h := &fakeHandle{l: l}
	require.True(t, l.AddBuffering(h, &h.member, true))
	assert.Equal(t, 2, h.member.Slot())
	assert.Equal(t, Handle(h), l.handles.at(2))
	assert.EqualValues(t, 1, l.shares.Load())
	l.SetRef(&h.member, false)
	l.SetRef(&h.member, false)
	assert.Zero(t, l.refs)
	l.SetRef(&handles[1].member, true) // not open
	assert.Zero(t, l.refs)
	assert.Equal(t, 2, h.member.Slot())
	for _, h := range []*fakeHandle{handles[0], handles[2], h} {
		l.Remove(&h.member)
	}
	assert.Zero(t, l.shares.Load())
	assert.Nil(t, l.handles.list, "an empty table is released")
	for _, slot := range []int{-1, 0, 1} {
		assert.Nil(t, l.handles.at(slot))
	}
}

func TestMemory_OneFairShare(t *testing.T) {
	l := newLoop()
	host := l.Host().(*fakeHost)
	l.SetMaxBuffered(8000)
	assert.Equal(t, 2000, l.Share())
	a, b := &fakeHandle{l: l}, &fakeHandle{l: l}
	require.True(t, l.AddBuffering(a, &a.member, true))
	require.True(t, l.AddBuffering(b, &b.member, true))
	assert.Equal(t, 1000, l.Share())
	l.Count(6000)
	assert.True(t, l.IsCrowded(3))
	assert.True(t, l.IsFull(1001))
	assert.False(t, l.IsFull(1000))
	l.AwaitRoom()
	l.Count(-1000)
	assert.False(t, l.IsCrowded(3))
	assert.True(t, l.IsCrowded(2))
	l.Count(-2001)
	l.Count(-999) // it calls once
	l.Remove(&a.member)
	l.Remove(&b.member)
	l.Run()
	assert.Equal(t, 1, host.roomy)
	assert.EqualValues(t, 2000, l.Buffered())
	l.SetMaxBuffered(-1)
	assert.False(t, l.IsCrowded(2), "there is no limit")
}

func TestTimer_OrderAndReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, got, began := newLoop(), journal{}, time.Now()
		l.AfterFunc(2*time.Second, got.note("late"))
		first := l.AfterFunc(time.Second, got.note("first"))
		l.AfterFunc(time.Second, got.note("second"))
		l.AfterFunc(time.Hour, got.note("unreferenced")).SetRef(false)
		var again *Timer
		n := 0
		again = l.AfterFunc(-time.Second, func() {
			if n++; n < 3 {
				assert.False(t, again.Reset(time.Second))
			}
		})
		assert.False(t, l.AfterFunc(time.Second, nil).Stop())
		l.Run()
		assert.Equal(t, "first second late", got.String())
		assert.Equal(t, 3, n)
		assert.Equal(t, 2*time.Second, time.Since(began))
		assert.False(t, first.Stop())
		assert.False(t, first.Reset(time.Hour))
		assert.True(t, first.Reset(time.Second))
		assert.True(t, first.Stop())
		l.Run()
		assert.Empty(t, l.timers)
	})
}

func TestTimer_StopsWithTheLoop(t *testing.T) {
	l := newLoop()
	timer := l.AfterFunc(time.Hour, func() { t.Error("it ran") })
	closing := &fakeHandle{l: l, closed: func() { assert.False(t, timer.Reset(time.Hour)); assert.False(t, timer.Stop()) }}
	require.True(t, closing.add(true))
	require.True(t, l.Serve(ended(t)))
	assert.False(t, timer.Stop())
}

func TestYield_RunsInTheNextTurn(t *testing.T) {
	l, got := newLoop(), journal{}
	l.Event(func() {
		turn := l.Turn()
		l.Yield(func() {
			assert.Equal(t, turn+1, l.Turn())
			assert.Zero(t, l.Yielded())
			got.note("yielded")()
		})
		assert.Equal(t, 1, l.Yielded())
		l.AtTurnEnd(got.note("closing"))
	})
	l.Event(got.note("event"))
	l.Run()
	assert.Equal(t, "event closing yielded", got.String())
}
