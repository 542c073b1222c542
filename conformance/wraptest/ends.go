package wraptest

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"evnet"
)

// end: what was written before End arrives whole, whoever waits for whom then.
func end(t *testing.T, k Kind) {
	want := random(megabyte)
	s := wrap(t, k, evnet.SocketOptions{})
	s.aside(func() {
		got, err := io.ReadAll(s.peer)
		no(t, err)
		same(t, "the peer has got", want, got)
		_ = s.peer.Close() // which may have something to say that nobody hears any more
	})
	_, err := s.Write(want)
	no(t, err)
	s.End()
	s.Resume()
	s.run()
	s.told([]string{"finish", "end", "close false"})
}

// halfClose: after End the answer comes, where the conn knows half-close; where it does not, End ends the
// whole conn, without waiting for the peer, unless its Close is no such thing.
func halfClose(t *testing.T, k Kind) {
	s := wrap(t, k, evnet.SocketOptions{})
	answer := random(megabyte)
	if k.HalfCloses || k.ReadsOn {
		s.aside(func() {
			got, err := io.ReadAll(s.peer)
			no(t, err)
			same(t, "the peer has got", []byte("question"), got)
			_, err = s.peer.Write(answer)
			no(t, err)
			no(t, s.peer.Close())
		})
	} else {
		answer = nil
		s.aside(func() {
			got := make([]byte, len("question"))
			_, err := io.ReadFull(s.peer, got)
			no(t, err)
			same(t, "the peer has got", []byte("question"), got)
		})
	}
	_, err := s.WriteString("question")
	no(t, err)
	s.End()
	got := s.collect()
	s.run()
	same(t, "the socket has got", answer, got.Bytes())
	s.told([]string{"finish", "end", "close false"})
}

// peerEnds: after the peer's end the socket may go on, where both conns know half-close; else the end of
// the peer is the end of the conn.
func peerEnds(t *testing.T, k Kind) {
	s := wrap(t, k, evnet.SocketOptions{AllowHalfOpen: true})
	answer := random(megabyte)
	half, ok := s.peer.(interface{ CloseWrite() error })
	s.aside(func() {
		_, err := io.WriteString(s.peer, "question")
		no(t, err)
		if !ok {
			no(t, s.peer.Close())
			return
		}
		no(t, half.CloseWrite())
		got, err := io.ReadAll(s.peer)
		no(t, err)
		same(t, "the peer has got", answer, got)
	})
	got := s.collect()
	s.On.End(func() {
		if ok {
			_, err := s.Write(answer)
			no(t, err)
		}
		s.End()
	})
	s.run()
	same(t, "the socket has got", []byte("question"), got.Bytes())
	s.told(wholeLife)
}

// stuck is a socket whose peer neither reads nor ends, nor closes before the loop has ended.
func stuck(t *testing.T, k Kind, opts evnet.SocketOptions) (s *wrapped, lost *error) {
	s = wrap(t, k, opts)
	lost = new(error)
	s.WriteThen(random(megabyte+k.Holds), func(err error) { *lost = err })
	s.Resume()
	return s, lost
}

// idle is a socket whose peer reads, and says nothing.
func idle(t *testing.T, k Kind, opts evnet.SocketOptions) *wrapped {
	s := wrap(t, k, opts)
	go func() { _, _ = io.Copy(io.Discard, s.peer) }()
	s.Resume()
	return s
}

// soon is when a reader or writer is in its conn, most of the time.
const soon = 5 * time.Millisecond

// destroyIdle: a Read that nothing comes for is left.
func destroyIdle(t *testing.T, k Kind) {
	s := idle(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(soon, func() { s.Destroy(nil) })
	s.run()
	s.told([]string{"close false"})
}

// destroyFull: a Write that nobody takes is left, and what it should have sent is told to be lost.
func destroyFull(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(soon, func() { s.Destroy(nil) })
	s.run()
	s.told([]string{"close false"})
	is(t, *lost, evnet.ErrDestroyed)
}

func destroyCause(t *testing.T, k Kind) {
	cause := errors.New("boom")
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(soon, func() { s.Destroy(cause) })
	s.run()
	s.told([]string{"error", "close true"})
	is(t, *lost, cause)
	is(t, s.Err(), cause)
}

func reset(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(soon, s.Reset)
	s.run()
	s.told([]string{"close false"})
	is(t, *lost, evnet.ErrDestroyed)
}

// timeout: a socket that is idle says so, each time anew.
func timeout(t *testing.T, k Kind) {
	s := wrap(t, k, evnet.SocketOptions{})
	no(t, s.SetTimeout(10*time.Millisecond))
	s.Pipe(s)
	times := 0
	s.On.Timeout(func() {
		if times++; times == 1 {
			s.aside(func() { s.converse([]byte("still here")) })
			no(t, s.SetTimeout(0))
		}
	})
	s.run()
	s.told(append([]string{"timeout"}, wholeLife...))
}

func idleTimeout(t *testing.T, k Kind) {
	s := idle(t, k, evnet.SocketOptions{IdleTimeout: 20 * time.Millisecond})
	s.run()
	s.told([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
}

// writeTimeout: a peer that takes nothing does not hold the socket open, though it may send.
func writeTimeout(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{WriteTimeout: 200 * time.Millisecond})
	s.run()
	s.told([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
	is(t, *lost, os.ErrDeadlineExceeded)
}

// closeTimeout: a peer that does not take the end, or never ends, does not hold the socket open.
func closeTimeout(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{CloseTimeout: 20 * time.Millisecond})
	s.End()
	s.run()
	s.told([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
	is(t, *lost, os.ErrDeadlineExceeded)
}
