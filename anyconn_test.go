package evnet_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// certificate is self-signed, for "localhost", made once for all tests.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		DNSNames:  []string{"localhost"},
		NotBefore: time.Unix(0, 0),
		NotAfter:  time.Unix(1<<32, 0), // the first test may have a clock of its own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// tcpConns is a connected pair.
func tcpConns(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	s, err := ln.Accept()
	require.NoError(t, err)
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// tlsConns is a pair that has not shaken hands yet.
func tlsConns(t testing.TB) (client, server *tls.Conn) {
	c, s := tcpConns(t)
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost"}),
		tls.Server(s, &tls.Config{Certificates: []tls.Certificate{certificate()}})
}

func tlsSockets(t testing.TB, l *evnet.Loop) (client, server *evnet.Socket) {
	c, s := tlsConns(t)
	opts := &evnet.SocketOptions{Loop: l}
	return evnet.Wrap(c, opts), evnet.Wrap(s, opts)
}

// pattern is bytes whose order shows.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>8) ^ byte(i)
	}
	return p
}

// collect gathers what s receives.
func collect(s *evnet.Socket) *bytes.Buffer {
	var got bytes.Buffer
	s.On.Data(func(p []byte) { got.Write(p) })
	return &got
}

// life notes the events of s but for Data, which may come in any number of pieces.
func life(s *evnet.Socket) *notes {
	var got notes
	watch(s, &got)
	s.RemoveAllListeners(evnet.EventData, evnet.EventDrain)
	return &got
}

// equalBytes does not print megabytes when it fails.
func equalBytes(t testing.TB, want, got []byte) {
	t.Helper()
	assert.Equal(t, len(want), len(got))
	assert.True(t, bytes.Equal(want, got), "the bytes are not those that were sent")
}

const payload = 1 << 20

func TestAnyConnPipeOfSockets(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	opts := &evnet.SocketOptions{Loop: l}
	a, b := evnet.Wrap(here, opts), evnet.Wrap(there, opts)
	eventsA, eventsB := life(a), life(b)
	b.Pipe(b)
	want := pattern(payload)
	_, _ = a.Write(want)
	got := collect(a)
	a.On.Data(func([]byte) {
		if got.Len() == len(want) {
			a.End()
		}
	})
	run(t, l)
	equalBytes(t, want, got.Bytes())
	assert.ElementsMatch(t, notes{"finish", "end", "close false"}, *eventsA) // a pipe has no half: its own end ends both
	assert.Equal(t, "close false", (*eventsA)[2])
	assert.Equal(t, notes{"end", "finish", "close false"}, *eventsB)
	goleak.VerifyNone(t, before)
}

// The other end may be any blocking code.
func TestAnyConnBlockingPeer(t *testing.T) {
	pairs := map[string]func(testing.TB) (here, there net.Conn){
		"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
		"tcp":  func(t testing.TB) (net.Conn, net.Conn) { return tcpConns(t) },
		"tls client": func(t testing.TB) (net.Conn, net.Conn) {
			return tlsConns(t)
		},
		"tls server": func(t testing.TB) (net.Conn, net.Conn) {
			c, s := tlsConns(t)
			return s, c
		},
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := pair(t)
			want := pattern(payload)
			peer := make(chan []byte, 1)
			go func() { // says the pattern, hears it back, leaves
				go func() { _, _ = there.Write(want) }()
				got := make([]byte, len(want))
				_, _ = io.ReadFull(there, got)
				_ = there.Close()
				peer <- got
			}()
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			events := life(s)
			var got [][]byte
			s.On.Data(func(p []byte) {
				got = append(got, p) // a chunk is ours to keep
				_, _ = s.Write(p)
			})
			run(t, l)
			equalBytes(t, want, bytes.Join(got, nil))
			equalBytes(t, want, <-peer)
			if (*events)[0] == "secureConnect" {
				*events = (*events)[1:]
			}
			assert.Equal(t, notes{"end", "finish", "close false"}, *events)
			assert.EqualValues(t, payload, s.BytesRead())
			assert.EqualValues(t, payload, s.BytesWritten())
			goleak.VerifyNone(t, before)
		})
	}
}

// Over TLS one side may end while the other still talks.
func TestAnyConnTLSHalfClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	c, s := tlsSockets(t, l)
	s.SetAllowHalfOpen(true)
	eventsC, eventsS := life(c), life(s)
	want := pattern(payload)
	_, _ = c.Write(want)
	c.End()
	gotS, gotC := collect(s), collect(c)
	s.On.End(func() {
		_, _ = s.Write(gotS.Bytes())
		s.End()
	})
	run(t, l)
	equalBytes(t, want, gotS.Bytes())
	equalBytes(t, want, gotC.Bytes())
	assert.Equal(t, notes{"secureConnect", "finish", "end", "close false"}, *eventsC)
	assert.Equal(t, notes{"secureConnect", "end", "finish", "close false"}, *eventsS)
	goleak.VerifyNone(t, before)
}

// A peer that talks no TLS, or none that is trusted, is an Error.
func TestAnyConnTLSHandshakeFails(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := tcpConns(t)
	s := evnet.Wrap(tls.Server(here, &tls.Config{Certificates: []tls.Certificate{certificate()}}), &evnet.SocketOptions{Loop: l})
	events := life(s)
	_, _ = io.WriteString(there, "GET / HTTP/1.1\r\n\r\n")
	defer there.Close()
	var told error
	s.WriteThen([]byte("lost"), func(err error) { told = err })
	run(t, l)
	assert.Equal(t, notes{"error ERR_SSL_HTTP_REQUEST", "close true"}, *events)
	assert.ErrorAs(t, s.Err(), new(tls.RecordHeaderError))
	assert.ErrorAs(t, s.Err(), new(*net.OpError))
	assert.ErrorIs(t, told, s.Err(), "what waited for the handshake is told why")
	goleak.VerifyNone(t, before)
}

// secret embeds a *net.TCPConn, whose descriptor could be read and written past its own methods.
type secret struct {
	*net.TCPConn
}

func (c secret) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	for i := range p[:n] {
		p[i] ^= 0x55
	}
	return n, err
}

func (c secret) Write(p []byte) (int, error) {
	q := make([]byte, len(p))
	for i := range p {
		q[i] = p[i] ^ 0x55
	}
	return c.TCPConn.Write(q)
}

func TestAnyConnEmbeddedTCPConn(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := tcpConns(t)
	s := evnet.Wrap(secret{TCPConn: here}, &evnet.SocketOptions{Loop: l})
	events := life(s)
	want := pattern(payload)
	peer := make(chan []byte, 1)
	go func() {
		go func() {
			_, _ = secret{TCPConn: there}.Write(want)
			_ = there.CloseWrite()
		}()
		got, _ := io.ReadAll(secret{TCPConn: there})
		_ = there.Close()
		peer <- got
	}()
	got := collect(s)
	s.On.Data(func(p []byte) {
		_, _ = s.Write(p)
		s.Pause() // a deadline of the embedded conn, and back
		l.Post(s.Resume)
	})
	run(t, l)
	equalBytes(t, want, got.Bytes())
	equalBytes(t, want, <-peer)
	assert.Equal(t, notes{"end", "finish", "close false"}, *events)
	goleak.VerifyNone(t, before)
}
