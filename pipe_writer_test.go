package evnet_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// The end of a pipe's source is not the end of a plain writer.
func TestPipeToWriter(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	var got closable
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.Pipe(&got)
		_, _ = c.Write(want)
		c.End()
		a.On.End(func() {
			evtest.AssertEqualBytes(t, want, got.Bytes())
		})
	})
	kit.Run(t, l)
	assert.False(t, got.closed)
}

type closable struct {
	bytes.Buffer
	closed bool
}

func (c *closable) Close() error { c.closed = true; return nil }

// limited accepts a number of bytes, then fails or returns a wrong count.
type limited struct {
	bytes.Buffer
	left int
	err  error
}

func (w *limited) Write(p []byte) (int, error) {
	n, _ := w.Buffer.Write(p[:min(len(p), w.left)])
	if w.left -= n; n < len(p) {
		return n, w.err
	}
	return n, nil
}

// A socket whose only consumer is a writer that fails, fails too: it has no other way to report that.
func TestPipe_FailingWriterIsAnError(t *testing.T) {
	full := errors.New("disk full")
	for name, c := range map[string]struct{ fails, want error }{
		"error": {full, full}, "short write": {nil, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				dst := &limited{left: 5, err: c.fails}
				l := evnet.NewLoop()
				var got *kit.Notes
				var failed *evnet.Socket
				kit.ConnectPair(t, l, nil, nil, func(peer, s *evnet.Socket) {
					failed, got = s, kit.NoteLife(s)
					s.Pipe(dst)
					_, _ = peer.WriteString("hello")
					s.Once.Data(func([]byte) { _, _ = peer.WriteString("world") })
				})
				kit.Run(t, l)
				assert.Equal(t, "hello", dst.String())
				assert.Equal(t, kit.Notes{"error ", "close true"}, *got)
				evtest.AssertOpError(t, failed.Err(), c.want, "pipe")
				assert.NotNil(t, failed.Err().(*net.OpError).Addr)
			})
		})
	}
}

// A socket that is hidden from Pipe in another writer does not hold the source back. The source fails at the limit of
// its queue, and the program can end both.
func TestPipe_HiddenSocketEndsWithAnError(t *testing.T) {
	for name, hide := range map[string]func(*evnet.Socket) io.Writer{
		"in a struct": func(s *evnet.Socket) io.Writer { return struct{ io.Writer }{s} },
		"embedded":    func(s *evnet.Socket) io.Writer { return struct{ *evnet.Socket }{s} },
	} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				var source, dst, stuck *evnet.Socket
				ready := func() {
					if source == nil || dst == nil {
						return
					}
					source.Pipe(hide(dst))
					source.On.Close(func(bool) {
						assert.False(t, dst.Destroyed(), "Pipe leaves it open")
						dst.Destroy(nil)
						stuck.Destroy(nil)
					})
				}
				kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
					source = a
					chunk := make([]byte, evtest.Megabyte)
					var more func(error)
					more = func(err error) {
						if err == nil {
							c.WriteThen(chunk, more)
						}
					}
					more(nil)
					ready()
				})
				kit.ConnectPair(t, l, nil, &evnet.ServerOptions{MaxWriteBuffer: 64 << 10}, func(c, a *evnet.Socket) {
					c.Pause()
					stuck, dst = c, a
					ready()
				})
				kit.Run(t, l)
				evtest.AssertOpError(t, source.Err(), evnet.ErrWriteBufferFull, "pipe")
			})
		})
	}
}

// A writer that fails beside a Data listener is removed, and the listener gets everything.
func TestPipe_FailingWriterBesideAListener(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		want := evtest.RandomBytes(evtest.Megabyte)
		log, dst := &evtest.Records{}, &limited{left: 100, err: errors.New("disk full")}
		var all *bytes.Buffer
		l := evnet.NewLoop()
		kit.ConnectPair(t, l, nil, &evnet.ServerOptions{Logger: slog.New(log)}, func(c, a *evnet.Socket) {
			all = kit.Collect(a)
			a.Pipe(dst)
			_, _ = c.Write(want)
			c.End()
		})
		kit.Run(t, l)
		evtest.AssertEqualBytes(t, want, all.Bytes())
		evtest.AssertEqualBytes(t, want[:100], dst.Bytes())
		assert.Equal(t, []string{"evnet: writing to a destination of Pipe failed"}, log.Messages(slog.LevelWarn))
	})
}

// writes is a writer that is a function.
type writes func(p []byte) (int, error)

func (w *writes) Write(p []byte) (int, error) { return (*w)(p) }

// A writer that calls Unpipe may return any error: the socket stays open, paused.
func TestPipe_WriterThatUnpipesItself(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	got := kit.NoteLife(s)
	var w writes
	w = func(p []byte) (int, error) {
		s.Unpipe(&w)
		l.Post(func() {
			assert.True(t, s.Paused())
			s.Destroy(nil)
		})
		return 0, io.ErrClosedPipe
	}
	s.Pipe(&w)
	kit.Aside(l, func() { _, _ = io.WriteString(peer, "hello") })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"close false"}, *got)
}

// A destination that was never connected fails, as in Node. The source stays open, paused.
func TestPipe_DestinationThatWasNeverConnected(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		dst := kit.NewClient(l)
		got := kit.NoteLife(dst)
		kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
			a.Pipe(dst)
			_, _ = c.WriteString("hello")
			dst.On.Close(func(bool) {
				assert.True(t, a.Paused())
				assert.False(t, a.Destroyed())
				a.Destroy(nil)
				c.Destroy(nil)
			})
		})
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"error ERR_SOCKET_CLOSED", "close true"}, *got)
	})
}
