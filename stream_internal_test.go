package evnet

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"evnet/internal/transport"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Close is emitted even if closing the connection panics.
func TestClose_IsEmittedWhenClosingPanics(t *testing.T) {
	here, there := net.Pipe()
	l := NewLoop()
	panics := 0
	l.OnPanic(func(*PanicError) { panics++ })
	s := Wrap(here, &SocketOptions{Loop: l})
	l.Post(func() {
		s.mu.Lock()
		e := s.destroyLocked(nil, true)
		s.mu.Unlock()
		e.handshake = &handshaking{cancel: func() { panic("on purpose") }} // closing cancels the handshake
		e.run()
	})
	l.Run()
	assert.True(t, s.Closed())
	assert.Equal(t, 1, panics)
	_ = there.Close()
}

// arrives passes a report of the stream to the socket. It runs on the loop.
func arrives(s *Socket, r transport.Report) {
	s.mu.Lock()
	var a arrival
	s.arrivedLocked(&r, &a)
	s.mu.Unlock()
	s.deliverArrival(&r, &a)
}

// The reader may be the first to see the cause of a write error that the writer has not reported yet. A reset and the
// data before it are reported. The stream omits an end that follows a reset.
func TestReadWhileTheWriterFails(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, test := range map[string]struct {
		data string
		err  error
	}{
		"reset": {"", reset},
		"end":   {"", nil},
		"data":  {"last", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true})
			got, ended := "", false
			s.On.Data(func(p []byte) { got += string(p) })
			s.On.End(func() { ended = true })
			s.On.Error(func(error) {})
			l.AfterFunc(0, func() {
				arrives(s, transport.Report{Data: []byte(test.data), Err: test.err})
				l.Post(func() { s.Destroy(nil) }) // after End, if End is emitted
			})
			l.Run()
			assert.Equal(t, test.err, s.Err())
			assert.False(t, ended)
			assert.Equal(t, test.data, got)
		})
	}
}

// After a failed write, the reader's error is the cause if it says more. A reset is then reported as if there had been no
// write: Error is first.
func TestFailedWrite_TakesTheCauseFromTheReader(t *testing.T) {
	broken := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	alert := &net.OpError{Op: "remote error", Err: tls.AlertError(42)}
	own := errors.New("the conn's own error")
	for name, test := range map[string]struct {
		failed error
		report transport.Report
		want   error
		events string
	}{
		"reset":              {broken, transport.Report{Err: reset}, reset, "error callback close "},
		"alert":              {broken, transport.Report{Err: alert}, alert, "error callback close "},
		"end":                {broken, transport.Report{Err: io.EOF}, broken, "end callback error close "},
		"end after a reset":  {syscall.ECONNRESET, transport.Report{Err: io.EOF}, syscall.ECONNRESET, "callback error close "},
		"closed":             {broken, transport.Report{Err: net.ErrClosed}, broken, "callback error close "},
		"truncated":          {broken, transport.Report{Err: transport.ErrTruncated}, broken, "callback error close "},
		"nothing more":       {broken, transport.Report{Flags: transport.Exhausted}, broken, "callback error close "},
		"reset of a failure": {own, transport.Report{Err: reset}, own, "callback error close "},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			s := Wrap(here, &SocketOptions{Loop: l})
			events := ""
			s.On.Data(func(p []byte) { events += string(p) + " " })
			s.On.End(func() { events += "end " })
			s.On.Error(func(error) { events += "error " })
			s.On.Close(func(bool) { events += "close " })
			s.Cork()
			s.WriteThen([]byte("a"), func(err error) {
				assert.ErrorIs(t, err, test.want)
				events += "callback "
			})
			l.AfterFunc(0, func() {
				s.mu.Lock()
				assert.Nil(t, s.writeFailedLocked(test.failed, false))
				s.mu.Unlock()
				test.report.Data = []byte("data")
				arrives(s, test.report)
			})
			l.Run()
			assert.ErrorIs(t, s.Err(), test.want)
			assert.Equal(t, "data "+test.events, events)
		})
	}
}

// A chunk that the goroutine in a range has not read yet goes back undecoded, even if SetEncoding was called
// since.
func TestChunkIsReclaimedAsItCame(t *testing.T) {
	s := NewSocket(&SocketOptions{Loop: NewLoop()})
	c, err := s.beginChunks()
	require.NoError(t, err)
	c.requested = true
	s.giveChunk(c, []byte{0xe9}, false)
	require.NoError(t, s.SetEncoding(Latin1))
	s.mu.Lock()
	s.reclaimChunkLocked()
	text, raw := s.in.text, s.in.raw
	s.mu.Unlock()
	s.leaveChunks(c)
	assert.Empty(t, text)
	assert.Equal(t, []byte{0xe9}, raw)
}

// A destination on another loop may drain after it was found full and before its source is paused. That Drain is not
// repeated, and the flow still continues.
func TestPipeDrainsBeforeItIsHeldBack(t *testing.T) {
	near, far := NewLoop(), NewLoop()
	from, fromPeer := net.Pipe()
	to, toPeer := net.Pipe()
	src := Wrap(from, &SocketOptions{Loop: near})
	dst := Wrap(to, &SocketOptions{Loop: far, HighWaterMark: 1})
	p := &pipe{src: src, dst: dst, sock: dst}
	src.link(p)
	dst.Resume()
	drained := make(chan struct{})
	dst.Once.Drain(func() { close(drained) })
	_, _ = dst.WriteString("full")
	far.Ref()
	near.Post(func() { // as checkRoom does
		full, _ := dst.room()
		assert.True(t, full)
		_, err := io.ReadFull(toPeer, make([]byte, 4))
		assert.NoError(t, err)
		<-drained
		p.block(dst.NeedDrain)
		assert.False(t, src.Paused())
		src.Destroy(nil)
		dst.Destroy(nil)
		far.Unref()
	})
	over := make(chan struct{})
	go func() { defer close(over); far.Run() }()
	near.Run()
	<-over
	_, _ = fromPeer.Close(), toPeer.Close()
}

// A writer that fails after the reader has got a reset does not report EPIPE, with TLS as without.
func TestTLSResetWhileTheWriterFails(t *testing.T) {
	web := httptest.NewTLSServer(nil) // provides a certificate
	defer web.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	there, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err := ln.Accept()
	require.NoError(t, err)

	l := NewLoop()
	s := Wrap(here, &SocketOptions{Loop: l, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	reported := ""
	meet := func() {
		_ = there.(*net.TCPConn).SetLinger(0)
		_ = there.Close()
		eventually := func(condition func() bool) {
			assert.Eventually(t, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return condition()
			}, time.Minute, time.Millisecond)
		}
		eventually(func() bool { // the reader has got the reset, and waits for the loop
			unread, _ := s.stream.Unread()
			return unread
		})
		done := make(chan struct{})
		go func() { // not in the callback, which would delay it
			defer close(done)
			_, err := s.Write([]byte("x"))
			assert.NoError(t, err)
		}()
		<-done
		eventually(func() bool { return s.out.failed })
	}
	s.On.Data(func([]byte) { l.AfterFunc(0, meet) })
	s.On.Error(func(err error) { reported += Code(err) })
	l.Ref()
	go func() {
		defer l.Unref()
		_, err := tls.Server(there, &tls.Config{Certificates: web.TLS.Certificates}).Write([]byte("x"))
		assert.NoError(t, err)
	}()
	l.Run()
	assert.Equal(t, "ECONNRESET", reported)
}
