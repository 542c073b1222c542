package wraptest

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"evnet"
)

// end: data written before End arrives complete, whichever side closes first.
func end(t *testing.T, k Kind) {
	want := random(megabyte)
	s := wrap(t, k, evnet.SocketOptions{})
	s.aside(func() {
		got, err := io.ReadAll(s.peer)
		no(t, err)
		same(t, "the peer has got", want, got)
		_ = s.peer.Close() // its error no longer matters
	})
	_, err := s.Write(want)
	no(t, err)
	s.End()
	s.Resume()
	s.run()
	s.assertEvents([]string{"finish", "end", "close false"})
}

// halfClose: after End the answer arrives if the conn supports half-close. If it does not, End closes the whole
// conn without waiting for the peer, unless its Close ends only its own side.
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
	s.assertEvents([]string{"finish", "end", "close false"})
}

// peerEnds: after the peer's end the socket may keep sending if both conns support half-close. Otherwise the
// peer's end is the end of the conn.
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
	s.assertEvents(wholeLife)
}

// stuck returns a socket whose peer does not read, end, or close before the loop returns.
func stuck(t *testing.T, k Kind, opts evnet.SocketOptions) (s *wrapped, lost *error) {
	s = wrap(t, k, opts)
	lost = new(error)
	s.WriteThen(random(megabyte+k.Holds), func(err error) { *lost = err })
	s.Resume()
	return s, lost
}

// idle returns a socket whose peer reads and sends nothing.
func idle(t *testing.T, k Kind, opts evnet.SocketOptions) *wrapped {
	s := wrap(t, k, opts)
	go func() { _, _ = io.Copy(io.Discard, s.peer) }()
	s.Resume()
	return s
}

// ioStarted is a delay after which a reader or writer has usually entered its conn.
const ioStarted = 5 * time.Millisecond

// destroyIdle: Destroy interrupts a Read that receives nothing.
func destroyIdle(t *testing.T, k Kind) {
	s := idle(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(ioStarted, func() { s.Destroy(nil) })
	s.run()
	s.assertEvents([]string{"close false"})
}

// destroyFull: Destroy interrupts a Write that the peer does not read, and reports its data as lost.
func destroyFull(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(ioStarted, func() { s.Destroy(nil) })
	s.run()
	s.assertEvents([]string{"close false"})
	is(t, *lost, evnet.ErrDestroyed)
}

func destroyCause(t *testing.T, k Kind) {
	cause := errors.New("boom")
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(ioStarted, func() { s.Destroy(cause) })
	s.run()
	s.assertEvents([]string{"error", "close true"})
	is(t, *lost, cause)
	is(t, s.Err(), cause)
}

func reset(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{})
	s.loop.AfterFunc(ioStarted, s.Reset)
	s.run()
	s.assertEvents([]string{"close false"})
	is(t, *lost, evnet.ErrDestroyed)
}

// timeout: an idle socket emits Timeout again for each idle period.
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
	s.assertEvents(append([]string{"timeout"}, wholeLife...))
}

func idleTimeout(t *testing.T, k Kind) {
	s := idle(t, k, evnet.SocketOptions{IdleTimeout: 20 * time.Millisecond})
	s.run()
	s.assertEvents([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
}

// writeTimeout: a peer that does not read cannot keep the socket open, even if it sends.
func writeTimeout(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{WriteTimeout: 200 * time.Millisecond})
	s.run()
	s.assertEvents([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
	is(t, *lost, os.ErrDeadlineExceeded)
}

// closeTimeout: a peer that does not read the end, or never ends, cannot keep the socket open.
func closeTimeout(t *testing.T, k Kind) {
	s, lost := stuck(t, k, evnet.SocketOptions{CloseTimeout: 20 * time.Millisecond})
	s.End()
	s.run()
	s.assertEvents([]string{"error", "close true"})
	is(t, s.Err(), os.ErrDeadlineExceeded)
	is(t, *lost, os.ErrDeadlineExceeded)
}
