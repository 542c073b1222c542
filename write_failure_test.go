package evnet_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refused is a socket whose peer has answered and closed the connection: its next write fails.
func refused(t testing.TB, l *evnet.Loop, answer string) *evnet.Socket {
	here, there := evtest.UnixPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: -1})
	_, err := io.WriteString(there, answer)
	require.NoError(t, err)
	require.NoError(t, there.Close())
	return s
}

// notes records the events of s after a failed write.
func notes(s *evnet.Socket) *strings.Builder {
	var events strings.Builder
	say := func(what string) { events.WriteString(what + " ") }
	s.On.End(func() { say("end") })
	s.On.Drain(func() { say("drain") })
	s.On.Finish(func() { say("finish") })
	s.On.Error(func(err error) { say("error:" + evnet.Code(err)) })
	s.On.Close(func(bool) { say("close") })
	return &events
}

// After a failed write, the socket delivers what was received, and accepts no more. It reports the failure once, after the
// callback of the write.
func TestFailedWrite_DeliversWhatWasReceived(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := refused(t, l, "the answer")
		events := notes(s)
		l.Post(func() {
			s.WriteThen(make([]byte, 1<<20), func(err error) {
				assert.ErrorIs(t, err, syscall.EPIPE)
				events.WriteString("callback ")
			})
			s.On.Data(func(p []byte) {
				events.WriteString(string(p) + " ")
				assert.False(t, s.Writable())
				assert.False(t, s.NeedDrain())
				assert.False(t, s.Destroyed())
				assert.Zero(t, s.BufferedAmount())
				_, err := s.WriteString("more")
				assert.ErrorIs(t, err, evnet.ErrDestroyed)
				assert.ErrorIs(t, s.StartTLS(evtest.ClientConfig()), syscall.EPIPE)
				_, _, err = s.Detach()
				assert.ErrorIs(t, err, syscall.EPIPE)
				s.End()
			})
		})
		kit.Run(t, l)
		assert.Equal(t, "the answer end callback error:EPIPE close ", events.String())
	})
}

// A socket that is paused when a write fails, or has no consumer, keeps what was received until Resume, for a short time. The
// callbacks of its writes do not wait.
func TestFailedWrite_WaitsForResume(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			before, after func(l *evnet.Loop, s *evnet.Socket)
			want          string
		}{
			"resumed": {
				func(_ *evnet.Loop, s *evnet.Socket) { s.Pause() },
				func(_ *evnet.Loop, s *evnet.Socket) { s.Resume() },
				"callback the answer end error:EPIPE close ",
			},
			"never resumed": {
				func(_ *evnet.Loop, s *evnet.Socket) { s.Pause() },
				func(*evnet.Loop, *evnet.Socket) {},
				"callback error:EPIPE close ",
			},
			"paused again": {
				func(_ *evnet.Loop, s *evnet.Socket) { s.Pause() },
				func(l *evnet.Loop, s *evnet.Socket) {
					s.Resume()
					s.Pause()
					l.AfterFunc(time.Millisecond, s.Resume)
				},
				"callback the answer end error:EPIPE close ",
			},
			"closed": {
				func(_ *evnet.Loop, s *evnet.Socket) { s.Pause() },
				func(_ *evnet.Loop, s *evnet.Socket) { _ = s.Close() },
				"callback error:EPIPE close ",
			},
			"destroyed": {
				func(_ *evnet.Loop, s *evnet.Socket) { s.Pause() },
				func(_ *evnet.Loop, s *evnet.Socket) { s.Destroy(nil) },
				"callback close ",
			},
		} {
			t.Run(name, func(t *testing.T) {
				l := evnet.NewLoop()
				s := refused(t, l, "the answer")
				events := notes(s)
				s.On.Data(func(p []byte) { events.WriteString(string(p) + " ") })
				test.before(l, s)
				l.Post(func() {
					s.WriteThen(make([]byte, 1<<20), func(err error) {
						assert.ErrorIs(t, err, syscall.EPIPE)
						events.WriteString("callback ")
						test.after(l, s)
					})
				})
				kit.Run(t, l)
				assert.Equal(t, test.want, events.String())
			})
		}
	})
}

// A goroutine in a range over Chunks may wait for the callback of a write.
func TestFailedWrite_CallbackDoesNotWaitForChunks(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := refused(t, l, strings.Repeat("x", 200<<10))
		s.On.Error(func(error) {})
		var got bytes.Buffer
		kit.Aside(l, func() {
			for p, err := range s.Chunks() {
				if err != nil {
					assert.ErrorIs(t, err, syscall.EPIPE)
					break
				}
				got.Write(p)
				written := make(chan error, 1)
				s.WriteThen(make([]byte, 1<<20), func(err error) { written <- err })
				assert.Error(t, <-written)
				_, err = s.ReadFrom(strings.NewReader("more"))
				assert.ErrorIs(t, err, syscall.EPIPE)
			}
		})
		kit.Run(t, l)
		assert.Equal(t, 200<<10, got.Len())
	})
}

// Write and ReadFrom of a BlockingConn return the failure immediately. Read returns what was received, and then the failure,
// as with a conn of package net.
func TestFailedWrite_OfABlockingConn(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := refused(t, l, strings.Repeat("x", 200<<10))
		conn := kit.BlockingConn(t, s)
		kit.Aside(l, func() {
			var err error
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<20))
			}
			assert.ErrorIs(t, err, syscall.EPIPE)
			_, err = conn.(io.ReaderFrom).ReadFrom(strings.NewReader("more"))
			assert.ErrorIs(t, err, syscall.EPIPE)
			got, err := io.ReadAll(conn)
			assert.True(t, err == nil || errors.Is(err, syscall.EPIPE), err)
			assert.Len(t, got, 200<<10)
			_ = conn.Close()
		})
		kit.Run(t, l)
		assert.ErrorIs(t, s.Err(), syscall.EPIPE)
	})
}

// A destination of Pipe gets what its source had received before a write failed, however slowly it reads.
func TestFailedWrite_WaitsForADestination(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		answer := evtest.PatternBytes(150 << 10)
		s := refused(t, l, string(answer))
		events := notes(s)
		dst, reader := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
		var got []byte
		l.Post(func() {
			s.Pipe(dst)
			s.WriteThen(make([]byte, 1<<20), func(error) {
				kit.Aside(l, func() {
					got, _ = io.ReadAll(reader)
					_ = reader.Close()
				})
			})
		})
		kit.Run(t, l)
		evtest.AssertEqualBytes(t, answer, got)
		assert.Equal(t, "end error:EPIPE close ", events.String())
	})
}

// The alert of a server that refuses the client's certificate is the error, although the client has written meanwhile.
func TestFailedWrite_ReportsTheAlert(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for range evtest.Pick(10, 100) {
			l := evnet.NewLoop()
			here, there := evtest.TCPPair(t)
			config := evtest.ServerConfig()
			config.ClientAuth = tls.RequireAnyClientCert
			config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("refused") }
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: func() *tls.Config {
				c := evtest.NamedClientConfig()
				c.Certificates = []tls.Certificate{evtest.Certificate()}
				return c
			}()})
			s.On.SecureConnect(func() { _, _ = s.Write(make([]byte, 1<<20)) })
			s.On.Data(func([]byte) {})
			var failure error
			s.On.Error(func(err error) { failure = err })
			kit.Aside(l, func() {
				assert.Error(t, tls.Server(there, config).Handshake())
				_ = there.Close()
			})
			kit.Run(t, l)
			require.ErrorContains(t, failure, "remote error: tls: bad certificate")
			var op *net.OpError
			require.ErrorAs(t, failure, &op)
			assert.NotNil(t, op.Addr)
		}
	})
}
