package evnet_test

import (
	"bufio"
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A protocol goes on with another split, or with other consumers, and each gets all that is left.
func TestScanChangesInsideItself(t *testing.T) {
	body := "body with\nlines"
	for name, next := range map[string]func(s *evnet.Socket, got *bytes.Buffer){
		"data": func(s *evnet.Socket, got *bytes.Buffer) { s.On.Data(func(p []byte) { got.Write(p) }) },
		"pipe": func(s *evnet.Socket, got *bytes.Buffer) { s.Pipe(got) },
		"onread": func(s *evnet.Socket, got *bytes.Buffer) {
			_ = s.OnRead(func(p []byte) bool { got.Write(p); return true })
		},
		"chunks": func(s *evnet.Socket, got *bytes.Buffer) {
			aside(s.Loop(), func() {
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
			"bytes":     bytewise("head\n\n" + body),
			"joined":    {"head", "\n\n" + body},
		} {
			t.Run(name+"/"+cut, func(t *testing.T) {
				l := evnet.NewLoop()
				s := feed(l, parts...)
				var head notes
				var got bytes.Buffer
				require.NoError(t, s.Scan(nil, 0, func(line []byte) {
					head = append(head, string(line))
					if len(line) == 0 {
						require.NoError(t, s.Scan(nil, 0, nil))
						next(s, &got)
					}
				}))
				run(t, l)
				assert.NoError(t, s.Err())
				assert.Equal(t, notes{"head", ""}, head)
				assert.Equal(t, body, got.String())
			})
		}
	}
	t.Run("replaced", func(t *testing.T) {
		l := evnet.NewLoop()
		s := feed(l, "head\n"+frame("one")+frame("two")[:5], frame("two")[5:])
		var got notes
		require.NoError(t, s.Scan(nil, 0, func(line []byte) {
			got = append(got, string(line))
			require.NoError(t, s.Scan(frames, 0, got.chunk("frame ")))
		}))
		run(t, l)
		assert.Equal(t, notes{"head", "frame one", "frame two"}, got)
	})
}

// Pause holds the tokens that are there, Resume gives them although nothing more comes.
func TestScanPause(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := wrapped(l, evnet.SocketOptions{})
	var got notes
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
			l.AfterFunc(time.Millisecond, func() { // resumed: the unfinished one does not keep more from coming
				aside(l, func() { _, _ = io.WriteString(peer, "ur"); _ = peer.Close() })
			})
		}
	}))
	aside(l, func() { _, _ = io.WriteString(peer, "one\ntwo\nthree\nfo") })
	run(t, l)
	assert.Equal(t, notes{"one", "two", "three", "four"}, got)
}

// After Destroy no token comes.
func TestScanDestroy(t *testing.T) {
	l := evnet.NewLoop()
	s := feed(l, "one\ntwo\n")
	var got notes
	require.NoError(t, s.Scan(nil, 0, func(line []byte) {
		got = append(got, string(line))
		s.Destroy(nil)
	}))
	run(t, l)
	assert.Equal(t, notes{"one"}, got)
}

// Scan gets text like Data, and SetEncoding in its midst loses nothing.
func TestScanSetEncoding(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		l := evnet.NewLoop()
		s := feed(l, "ol\xc3", "\xa1\nol\xc3")
		require.NoError(t, s.SetEncoding(evnet.UTF8))
		var got notes
		require.NoError(t, s.Scan(nil, 0, got.chunk("")))
		s.On.End(got.say("end"))
		run(t, l)
		assert.Equal(t, notes{"olá", "ol\uFFFD", "end"}, got)
	})
	t.Run("while bytes are held", func(t *testing.T) {
		for _, parts := range [][]string{{"\xe9\nol\xe1\nch\xe1", "\n"}, bytewise("\xe9\nol\xe1\nch\xe1\n")} {
			l := evnet.NewLoop()
			s := feed(l, parts...)
			var got notes
			require.NoError(t, s.Scan(nil, 0, func(line []byte) {
				if got = append(got, string(line)); len(got) == 1 {
					require.NoError(t, s.SetEncoding(evnet.Latin1))
				}
			}))
			run(t, l)
			assert.Equal(t, notes{"\xe9", "olá", "chá"}, got)
		}
	})
}

// Half a character that was held before Scan began is no text yet, and split, as in bufio, is shown nothing
// before the end.
func TestScanBeginsWithHalfACharacter(t *testing.T) {
	for name, split := range map[string]bufio.SplitFunc{"characters": bufio.ScanRunes, "bytes": bufio.ScanBytes} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := feed(l, "\xc3", "\xa1")
			require.NoError(t, s.SetEncoding(evnet.UTF8))
			var got notes
			var begin func()
			begin = func() {
				if s.BytesRead() == 0 {
					l.AfterFunc(0, begin)
					return
				}
				require.NoError(t, s.Scan(split, 0, got.chunk("")))
			}
			begin()
			run(t, l)
			assert.Equal(t, "á", strings.Join(got, ""))
		})
	}
}

// On a new connection Scan begins with nothing held, however the old one has gone.
func TestScanReconnects(t *testing.T) {
	for name, leave := range map[string]func(s *evnet.Socket){
		"destroyed": func(s *evnet.Socket) { s.Destroy(nil) },
		"ended":     (*evnet.Socket).End,
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			says := []string{"first\nunfinished", "2\n3"}
			server, addr := serve(t, l, nil, func(a *evnet.Socket) {
				_, _ = a.WriteString(says[0])
				says = says[1:]
				a.Resume()
			})
			s := client(l)
			var got notes
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
			run(t, l)
			assert.NoError(t, s.Err())
			want := notes{"first", "2", "3"}
			if name == "ended" {
				want = notes{"first", "unfinished", "2", "3"}
			}
			assert.Equal(t, want, got)
		})
	}
}

// What is held unfinished may change under Scan, also while split looks at it.
func TestScanWhileHeldChanges(t *testing.T) {
	for name, c := range map[string]struct {
		parts  []string // what is held when change is called, and what comes then
		change func(s *evnet.Socket) error
		want   notes
	}{
		"put back": {[]string{"rest", "\n"}, func(s *evnet.Socket) error { return s.Unshift([]byte("a\n")) }, notes{"a", "rest"}},
		"shorter":  {[]string{"a\x00b\x00", "\n\x00"}, func(s *evnet.Socket) error { return s.SetEncoding(evnet.UTF16LE) }, notes{"ab"}},
		"longer":   {[]string{"\xe1\xe1\xe1", "\n"}, func(s *evnet.Socket) error { return s.SetEncoding(evnet.Latin1) }, notes{"ááá"}},
	} {
		t.Run(name+" between", func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := wrapped(l, evnet.SocketOptions{})
			var got notes
			require.NoError(t, s.Scan(nil, 0, got.chunk("")))
			aside(l, func() {
				_, _ = io.WriteString(peer, c.parts[0])
				for s.ReadableLength() == 0 {
					runtime.Gosched()
				}
				assert.NoError(t, c.change(s))
				_, _ = io.WriteString(peer, c.parts[1])
				_ = peer.Close()
			})
			run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, c.want, got)
		})
		t.Run(name+" in split", func(t *testing.T) {
			l := evnet.NewLoop()
			s := feed(l, c.parts...)
			var got notes
			changed := false
			require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
				if !changed {
					changed = true
					assert.NoError(t, c.change(s))
					return len(data), data, nil // of data that is another's by now
				}
				return bufio.ScanLines(data, atEOF)
			}, 0, got.chunk("")))
			run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, c.want, got)
		})
	}
}

// A Scan that begins when the end is over is never asked.
func TestScanAfterEnd(t *testing.T) {
	l := evnet.NewLoop()
	here, there := tcpConns(t)
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
	run(t, l)
	_ = there.Close()
}
