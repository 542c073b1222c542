package consumers_test

import (
	"bufio"
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A protocol may continue with another split function or another consumer, which gets all remaining data.
func TestScanChangesInsideItself(t *testing.T) {
	body := "body with\nlines"
	for name, next := range map[string]func(s *evnet.Socket, got *bytes.Buffer){
		"data": func(s *evnet.Socket, got *bytes.Buffer) { s.On.Data(func(p []byte) { got.Write(p) }) },
		"pipe": func(s *evnet.Socket, got *bytes.Buffer) { s.Pipe(got) },
		"onread": func(s *evnet.Socket, got *bytes.Buffer) {
			_ = s.OnRead(func(p []byte) bool { got.Write(p); return true })
		},
		"chunks": func(s *evnet.Socket, got *bytes.Buffer) {
			kit.Aside(s.Loop(), func() {
				for p := range s.Chunks() {
					got.Write(p)
				}
			})
		},
		"scan": func(s *evnet.Socket, got *bytes.Buffer) {
			_ = s.Scan(bufio.ScanRunes, 0, func(p []byte) { got.Write(p) })
		},
	} {
		for cut, parts := range map[string][]string{
			"one chunk": {"head\n\n" + body},
			"bytes":     evtest.Bytewise("head\n\n" + body),
			"joined":    {"head", "\n\n" + body},
		} {
			t.Run(name+"/"+cut, func(t *testing.T) {
				l := evnet.NewLoop()
				s := kit.Feed(l, parts...)
				var head kit.Notes
				var got bytes.Buffer
				require.NoError(t, s.Scan(nil, 0, func(line []byte) {
					head = append(head, string(line))
					if len(line) == 0 {
						require.NoError(t, s.Scan(nil, 0, nil))
						next(s, &got)
					}
				}))
				kit.Run(t, l)
				assert.NoError(t, s.Err())
				assert.Equal(t, kit.Notes{"head", ""}, head)
				assert.Equal(t, body, got.String())
			})
		}
	}
	t.Run("replaced", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.Feed(l, "head\n"+evtest.Frame("one")+evtest.Frame("two")[:5], evtest.Frame("two")[5:])
		var got kit.Notes
		require.NoError(t, s.Scan(nil, 0, func(line []byte) {
			got = append(got, string(line))
			require.NoError(t, s.Scan(evtest.Frames, 0, got.Chunk("frame ")))
		}))
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"head", "frame one", "frame two"}, got)
	})
}

// Pause holds back buffered tokens. Resume delivers them even if no more data is received.
func TestScanPause(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	var got kit.Notes
	require.NoError(t, s.Scan(nil, 0, func(line []byte) {
		got = append(got, string(line))
		s.Pause()
		more := len(got)
		l.AfterFunc(time.Millisecond, func() {
			assert.Len(t, got, more, "a token while paused")
			s.Resume()
		})
		switch more {
		case 1:
			assert.Equal(t, len("two\nthree\nfo"), s.ReadableLength())
		case 3:
			assert.Equal(t, len("fo"), s.ReadableLength())
			l.AfterFunc(time.Millisecond, func() { // resumed: the incomplete token does not prevent further reads
				kit.Aside(l, func() { _, _ = io.WriteString(peer, "ur"); _ = peer.Close() })
			})
		}
	}))
	kit.Aside(l, func() { _, _ = io.WriteString(peer, "one\ntwo\nthree\nfo") })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"one", "two", "three", "four"}, got)
}

// No token is delivered after Destroy.
func TestScanDestroy(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one\ntwo\n")
	var got kit.Notes
	require.NoError(t, s.Scan(nil, 0, func(line []byte) {
		got = append(got, string(line))
		s.Destroy(nil)
	}))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"one"}, got)
}

// Scan gets decoded text like Data, and SetEncoding during Scan loses nothing.
func TestScanSetEncoding(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.Feed(l, "ol\xc3", "\xa1\nol\xc3")
		require.NoError(t, s.SetEncoding(evnet.UTF8))
		var got kit.Notes
		require.NoError(t, s.Scan(nil, 0, got.Chunk("")))
		s.On.End(got.Say("end"))
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"olá", "ol\uFFFD", "end"}, got)
	})
	t.Run("while bytes are held", func(t *testing.T) {
		for _, parts := range [][]string{{"\xe9\nol\xe1\nch\xe1", "\n"}, evtest.Bytewise("\xe9\nol\xe1\nch\xe1\n")} {
			l := evnet.NewLoop()
			s := kit.Feed(l, parts...)
			var got kit.Notes
			require.NoError(t, s.Scan(nil, 0, func(line []byte) {
				if got = append(got, string(line)); len(got) == 1 {
					require.NoError(t, s.SetEncoding(evnet.Latin1))
				}
			}))
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"\xe9", "olá", "chá"}, got)
		}
	})
}

// A partial character that was buffered before Scan is not text yet. As in bufio, split is not called without
// data before the end.
func TestScanBeginsWithHalfACharacter(t *testing.T) {
	for name, split := range map[string]bufio.SplitFunc{"characters": bufio.ScanRunes, "bytes": bufio.ScanBytes} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, "\xc3", "\xa1")
			require.NoError(t, s.SetEncoding(evnet.UTF8))
			var got kit.Notes
			var begin func()
			begin = func() {
				if s.BytesRead() == 0 {
					l.AfterFunc(0, begin)
					return
				}
				require.NoError(t, s.Scan(split, 0, got.Chunk("")))
			}
			begin()
			kit.Run(t, l)
			assert.Equal(t, "á", strings.Join(got, ""))
		})
	}
}

// On a new connection, Scan starts with an empty buffer, for every way in which the old connection ended.
func TestScanReconnects(t *testing.T) {
	for name, leave := range map[string]func(s *evnet.Socket){
		"destroyed": func(s *evnet.Socket) { s.Destroy(nil) },
		"ended":     (*evnet.Socket).End,
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			says := []string{"first\nunfinished", "2\n3"}
			server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) {
				_, _ = a.WriteString(says[0])
				says = says[1:]
				a.Resume()
			})
			s := kit.NewClient(l)
			var got kit.Notes
			require.NoError(t, s.Scan(nil, 0, func(line []byte) {
				got = append(got, string(line))
				switch string(line) {
				case "first":
					l.Post(func() {
						assert.Equal(t, len("unfinished"), s.ReadableLength())
						leave(s)
					})
				case "2":
					l.Post(func() {
						assert.Equal(t, len("3"), s.ReadableLength())
						s.End()
					})
				}
			}))
			s.Once.Close(func(bool) {
				s.Connect("tcp", addr)
				s.On.Close(func(bool) { _ = server.Close(nil) })
			})
			s.Connect("tcp", addr)
			kit.Run(t, l)
			assert.NoError(t, s.Err())
			want := kit.Notes{"first", "2", "3"}
			if name == "ended" {
				want = kit.Notes{"first", "unfinished", "2", "3"}
			}
			assert.Equal(t, want, got)
		})
	}
}

// The buffered incomplete token may change during Scan, even while split runs.
func TestScanWhileHeldChanges(t *testing.T) {
	for name, c := range map[string]struct {
		parts  []string // the data buffered when change is called, and the data received afterwards
		change func(s *evnet.Socket) error
		want   kit.Notes
	}{
		"put back": {[]string{"rest", "\n"}, func(s *evnet.Socket) error { return s.Unshift([]byte("a\n")) }, kit.Notes{"a", "rest"}},
		"shorter":  {[]string{"a\x00b\x00", "\n\x00"}, func(s *evnet.Socket) error { return s.SetEncoding(evnet.UTF16LE) }, kit.Notes{"ab"}},
		"longer":   {[]string{"\xe1\xe1\xe1", "\n"}, func(s *evnet.Socket) error { return s.SetEncoding(evnet.Latin1) }, kit.Notes{"ááá"}},
	} {
		t.Run(name+" between", func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			var got kit.Notes
			require.NoError(t, s.Scan(nil, 0, got.Chunk("")))
			kit.Aside(l, func() {
				_, _ = io.WriteString(peer, c.parts[0])
				for s.ReadableLength() == 0 {
					runtime.Gosched()
				}
				assert.NoError(t, c.change(s))
				_, _ = io.WriteString(peer, c.parts[1])
				_ = peer.Close()
			})
			kit.Run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, c.want, got)
		})
		t.Run(name+" in split", func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, c.parts...)
			var got kit.Notes
			changed := false
			require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
				if !changed {
					changed = true
					assert.NoError(t, c.change(s))
					return len(data), data, nil // this data may already belong to another consumer
				}
				return bufio.ScanLines(data, atEOF)
			}, 0, got.Chunk("")))
			kit.Run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, c.want, got)
		})
	}
}

// If Scan starts after the end, split is never called.
func TestScanAfterEnd(t *testing.T) {
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, AllowHalfOpen: true})
	require.NoError(t, there.CloseWrite())
	require.NoError(t, s.Scan(nil, 0, func([]byte) {}))
	s.On.End(func() {
		assert.NoError(t, s.Scan(func([]byte, bool) (int, []byte, error) {
			t.Error("split after the end")
			return 0, nil, nil
		}, 0, func([]byte) {}))
		l.AfterFunc(time.Millisecond, func() { s.Destroy(nil) })
	})
	kit.Run(t, l)
	_ = there.Close()
}
