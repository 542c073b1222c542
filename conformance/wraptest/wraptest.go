// Package wraptest tests evnet.Wrap over a kind of net.Conn: a socket must behave the same over each of them.
// Besides evnet it imports only the standard library, so that the tests of every module can use it.
package wraptest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"evnet"
)

// Kind is a kind of conn.
type Kind struct {
	// Pair makes two connected conns: here is wrapped, and blocking code serves there. Pair closes its other
	// resources with t.Cleanup.
	Pair func(t testing.TB) (here, there net.Conn)
	// HalfCloses reports whether here has a CloseWrite that signals the end to the peer.
	HalfCloses bool
	// ReadsOn reports whether the Close of here ends only its own side: later data of the peer is still read.
	ReadsOn bool
	// Holds is the maximum number of bytes in flight while the peer does not read.
	Holds int
}

// patience limits an operation that should take milliseconds: only a hang takes longer.
const patience = time.Minute

const megabyte = 1 << 20

// Run runs every test on the kind of conn.
func Run(t *testing.T, k Kind) {
	for name, test := range map[string]func(*testing.T, Kind){
		"exchange":           exchange,
		"echo by Pipe":       echo,
		"blocking code":      blocking,
		"End":                end,
		"half-close":         halfClose,
		"the peer ends":      peerEnds,
		"Pause and Resume":   pauses,
		"Drain":              drains,
		"Destroy while idle": destroyIdle,
		"Destroy while full": destroyFull,
		"Destroy with cause": destroyCause,
		"Reset":              reset,
		"SetTimeout":         timeout,
		"IdleTimeout":        idleTimeout,
		"CloseTimeout":       closeTimeout,
		"WriteTimeout":       writeTimeout,
	} {
		t.Run(name, func(t *testing.T) { test(t, k) })
	}
}

// wrapped is a socket over the kind, its peer, and its events except Data and Drain.
type wrapped struct {
	*evnet.Socket
	t      *testing.T
	loop   *evnet.Loop
	peer   net.Conn
	events []string
}

func wrap(t *testing.T, k Kind, opts evnet.SocketOptions) *wrapped {
	here, there := k.Pair(t)
	if _, ok := here.(interface{ CloseWrite() error }); ok != k.HalfCloses {
		t.Errorf("%T has CloseWrite: %t", here, ok)
	}
	opts.Loop = evnet.NewLoop()
	s := &wrapped{t: t, loop: opts.Loop, peer: there}
	s.Socket = evnet.Wrap(here, &opts)
	say := func(what string) func() { return func() { s.events = append(s.events, what) } }
	s.On.End(say("end"))
	s.On.Finish(say("finish"))
	s.On.Timeout(say("timeout"))
	s.On.Error(func(error) { s.events = append(s.events, "error") })
	s.On.Close(func(hadError bool) { s.events = append(s.events, fmt.Sprint("close ", hadError)) })
	return s
}

// run runs the loop until nothing is open on it, and then closes the peer.
func (s *wrapped) run() {
	s.t.Helper()
	hung := time.AfterFunc(patience, func() { panic(s.t.Name() + ": Loop.Run does not return") })
	defer hung.Stop()
	s.loop.Run()
	_ = s.peer.Close()
}

// aside runs blocking code, which the loop waits for.
func (s *wrapped) aside(fn func()) {
	s.loop.Ref()
	go func() {
		defer s.loop.Unref()
		fn()
	}()
}

// assertEvents checks the events. If two orders are correct, want has both.
func (s *wrapped) assertEvents(want ...[]string) {
	s.t.Helper()
	if !slices.ContainsFunc(want, func(w []string) bool { return slices.Equal(s.events, w) }) {
		s.t.Errorf("events %q, want %q; Err is %v", s.events, want, s.Err())
	}
}

func no(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func is(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	}
}

// random returns n incompressible bytes.
func random(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(p)
	return p
}

func same(t testing.TB, what string, want, got []byte) {
	t.Helper()
	if sha256.Sum256(want) != sha256.Sum256(got) {
		t.Errorf("%s: %d bytes with SHA-256 %x, want %d with %x", what, len(got), sha256.Sum256(got), len(want), sha256.Sum256(want))
	}
}

func (s *wrapped) collect() *bytes.Buffer {
	var got bytes.Buffer
	s.On.Data(func(p []byte) { got.Write(p) })
	return &got
}

// converse is a peer that sends want, receives it back, and closes. It waits for the other side's end if it
// can: closing with unread bytes, even a marker of the encoding, would cause a reset.
func (s *wrapped) converse(want []byte) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		for p := want; len(p) > 0; {
			n, err := s.peer.Write(p[:min(len(p), 100_000)])
			if no(s.t, err); err != nil {
				return
			}
			p = p[n:]
		}
	}()
	got := make([]byte, len(want))
	_, err := io.ReadFull(s.peer, got)
	no(s.t, err)
	same(s.t, "the peer has got", want, got)
	<-said
	if half, ok := s.peer.(interface{ CloseWrite() error }); ok {
		no(s.t, half.CloseWrite())
		rest, err := io.ReadAll(s.peer)
		no(s.t, err)
		same(s.t, "the peer has got besides", nil, rest)
	}
	_ = s.peer.Close()
}

var wholeLife = []string{"end", "finish", "close false"}

// exchange: large amounts of data flow in both directions at the same time.
func exchange(t *testing.T, k Kind) {
	want := random(megabyte)
	s := wrap(t, k, evnet.SocketOptions{})
	s.aside(func() { s.converse(want) })
	_, err := s.Write(want)
	no(t, err)
	got := s.collect()
	s.run()
	same(t, "the socket has got", want, got.Bytes())
	s.assertEvents(wholeLife)
}

func echo(t *testing.T, k Kind) {
	s := wrap(t, k, evnet.SocketOptions{})
	s.aside(func() { s.converse(random(megabyte)) })
	s.Pipe(s)
	s.run()
	s.assertEvents(wholeLife)
}

// blocking: the blocking view of the socket behaves like any net.Conn.
func blocking(t *testing.T, k Kind) {
	s := wrap(t, k, evnet.SocketOptions{})
	view, err := s.BlockingConn()
	if no(t, err); err != nil {
		return
	}
	s.aside(func() { s.converse(random(megabyte)) })
	s.aside(func() {
		_, err := io.Copy(struct{ io.Writer }{view}, view)
		no(t, err)
		no(t, view.Close())
	})
	s.run()
	s.assertEvents(wholeLife)
}
