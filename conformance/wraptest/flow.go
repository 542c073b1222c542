package wraptest

import (
	"crypto/sha256"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
)

// pauses: a paused socket delivers nothing, loses nothing, and applies backpressure to the peer.
func pauses(t *testing.T, k Kind) {
	want := random(megabyte + k.Holds)
	s := wrap(t, k, evnet.SocketOptions{})
	var said atomic.Bool
	s.aside(func() {
		_, err := s.peer.Write(want)
		no(t, err)
		said.Store(true)
		no(t, s.peer.Close())
	})
	var got []byte
	pauses, next := 0, 0
	s.On.Data(func(p []byte) {
		if s.Paused() {
			t.Error("Data while paused")
		}
		got = append(got, p...)
		if len(got) < next {
			return
		}
		next += len(want) / 20
		first := pauses == 0
		pauses++
		s.Pause()
		s.loop.AfterFunc(time.Millisecond, func() {
			if ahead := s.BytesRead() - int64(len(got)); ahead > 64<<10 {
				t.Errorf("%d bytes were read while paused", ahead)
			}
			if first && said.Load() {
				t.Error("no backpressure on the peer")
			}
			s.Resume()
		})
	})
	s.run()
	same(t, "the socket has got", want, got)
	if pauses < 10 {
		t.Errorf("%d pauses", pauses)
	}
	s.assertEvents(wholeLife)
}

// drains: Write returns false while the peer does not read, and Drain is emitted when writing may continue.
func drains(t *testing.T, k Kind) {
	const mark = 64 << 10
	s := wrap(t, k, evnet.SocketOptions{HighWaterMark: mark})
	full := make(chan struct{})
	piece := random(30_000)
	pieces := (megabyte + k.Holds) / len(piece)
	total, sum := pieces*len(piece), sha256.New()
	for range pieces {
		sum.Write(piece)
	}
	s.aside(func() {
		<-full
		h := sha256.New()
		n, err := io.Copy(h, s.peer)
		no(t, err)
		if string(h.Sum(nil)) != string(sum.Sum(nil)) {
			t.Errorf("the peer has got %d bytes with SHA-256 %x, want %d with %x", n, h.Sum(nil), total, sum.Sum(nil))
		}
		no(t, s.peer.Close())
	})
	waits := 0
	fill := func() {
		for ; pieces > 0 && !s.NeedDrain(); pieces-- {
			_, err := s.Write(piece)
			no(t, err)
		}
		if n := s.BufferedAmount(); n > mark+len(piece) {
			t.Errorf("%d bytes are queued", n)
		}
		if pieces == 0 {
			s.End()
			return
		}
		if waits++; waits == 1 {
			close(full)
		}
	}
	s.On.Drain(func() {
		if n := s.BufferedAmount(); n > 0 {
			t.Errorf("Drain with %d bytes queued", n)
		}
		fill()
	})
	s.loop.Post(fill)
	s.Resume()
	s.run()
	if waits == 0 {
		t.Error("the socket never needed a Drain")
	}
	s.assertEvents([]string{"finish", "end", "close false"}, []string{"end", "finish", "close false"})
}
