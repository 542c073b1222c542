package conns_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

const payload = 1 << 20

func TestAnyConnPipeOfSockets(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	opts := &evnet.SocketOptions{Loop: l}
	a, b := evnet.Wrap(here, opts), evnet.Wrap(there, opts)
	eventsA, eventsB := kit.NoteLife(a), kit.NoteLife(b)
	b.Pipe(b)
	want := evtest.PatternBytes(payload)
	_, _ = a.Write(want)
	got := kit.Collect(a)
	a.On.Data(func([]byte) {
		if got.Len() == len(want) {
			a.End()
		}
	})
	kit.Run(t, l)
	evtest.AssertEqualBytes(t, want, got.Bytes())
	assert.ElementsMatch(t, kit.Notes{"finish", "end", "close false"}, *eventsA) // a pipe has no half-close: either end ends both directions
	assert.Equal(t, "close false", (*eventsA)[2])
	assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *eventsB)
	goleak.VerifyNone(t, before)
}

// The other end may be any blocking code.
func TestAnyConnBlockingPeer(t *testing.T) {
	pairs := map[string]func(testing.TB) (here, there net.Conn){
		"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
		"tcp":  func(t testing.TB) (net.Conn, net.Conn) { return evtest.TCPPair(t) },
		"tls client": func(t testing.TB) (net.Conn, net.Conn) {
			return evtest.TLSPair(t)
		},
		"tls server": func(t testing.TB) (net.Conn, net.Conn) {
			c, s := evtest.TLSPair(t)
			return s, c
		},
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := pair(t)
			want := evtest.PatternBytes(payload)
			peer := make(chan []byte, 1)
			go func() { // sends the pattern, receives it back, closes
				go func() { _, _ = there.Write(want) }()
				got := make([]byte, len(want))
				_, _ = io.ReadFull(there, got)
				_ = there.Close()
				peer <- got
			}()
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			events := kit.NoteLife(s)
			var got [][]byte
			s.On.Data(func(p []byte) {
				got = append(got, p) // the callback owns the chunk
				_, _ = s.Write(p)
			})
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, want, bytes.Join(got, nil))
			evtest.AssertEqualBytes(t, want, <-peer)
			if (*events)[0] == "secureConnect" {
				*events = (*events)[1:]
			}
			assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
			assert.EqualValues(t, payload, s.BytesRead())
			assert.EqualValues(t, payload, s.BytesWritten())
			goleak.VerifyNone(t, before)
		})
	}
}

// Over TLS one side may end while the other still sends.
func TestAnyConnTLSHalfClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	c, s := kit.TLSSockets(t, l)
	s.SetAllowHalfOpen(true)
	eventsC, eventsS := kit.NoteLife(c), kit.NoteLife(s)
	want := evtest.PatternBytes(payload)
	_, _ = c.Write(want)
	c.End()
	gotS, gotC := kit.Collect(s), kit.Collect(c)
	s.On.End(func() {
		_, _ = s.Write(gotS.Bytes())
		s.End()
	})
	kit.Run(t, l)
	evtest.AssertEqualBytes(t, want, gotS.Bytes())
	evtest.AssertEqualBytes(t, want, gotC.Bytes())
	assert.Equal(t, kit.Notes{"secureConnect", "finish", "end", "close false"}, *eventsC)
	assert.Equal(t, kit.Notes{"secureConnect", "end", "finish", "close false"}, *eventsS)
	goleak.VerifyNone(t, before)
}

// A peer that does not speak TLS, or is not trusted, causes an Error.
func TestAnyConnTLSHandshakeFails(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(tls.Server(here, &tls.Config{Certificates: []tls.Certificate{evtest.SelfSigned()}}), &evnet.SocketOptions{Loop: l})
	events := kit.NoteLife(s)
	_, _ = io.WriteString(there, "GET / HTTP/1.1\r\n\r\n")
	defer there.Close()
	var reported error
	s.WriteThen([]byte("lost"), func(err error) { reported = err })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"error ERR_SSL_HTTP_REQUEST", "close true"}, *events)
	assert.ErrorAs(t, s.Err(), new(tls.RecordHeaderError))
	assert.ErrorAs(t, s.Err(), new(*net.OpError))
	assert.ErrorIs(t, reported, s.Err(), "a write queued for the handshake reports the cause")
	goleak.VerifyNone(t, before)
}

func TestAnyConnEmbeddedTCPConn(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(evtest.ScramblingConn{TCPConn: here}, &evnet.SocketOptions{Loop: l})
	events := kit.NoteLife(s)
	want := evtest.PatternBytes(payload)
	peer := make(chan []byte, 1)
	go func() {
		go func() {
			_, _ = evtest.ScramblingConn{TCPConn: there}.Write(want)
			_ = there.CloseWrite()
		}()
		got, _ := io.ReadAll(evtest.ScramblingConn{TCPConn: there})
		_ = there.Close()
		peer <- got
	}()
	got := kit.Collect(s)
	s.On.Data(func(p []byte) {
		_, _ = s.Write(p)
		s.Pause() // sets and clears a deadline of the embedded conn
		l.Post(s.Resume)
	})
	kit.Run(t, l)
	evtest.AssertEqualBytes(t, want, got.Bytes())
	evtest.AssertEqualBytes(t, want, <-peer)
	assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
	goleak.VerifyNone(t, before)
}
