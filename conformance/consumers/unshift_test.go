package consumers_test

import (
	"bytes"
	"strings"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Bytes that were put back are delivered in reverse order of the calls, before buffered data and before the end.
func TestUnshift(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "c")
	got := ""
	p := []byte("b")
	require.NoError(t, s.Unshift(p))
	p[0] = 'x' // Unshift has copied it
	require.NoError(t, s.Unshift([]byte("a")))
	require.NoError(t, s.Unshift(nil))
	assert.Equal(t, 2, s.ReadableLength())
	s.On.Data(func(p []byte) { got += string(p) })
	s.On.End(func() { assert.Equal(t, "abc", got) })
	kit.Run(t, l)
	assert.Equal(t, "abc", got)
	assert.EqualValues(t, 1, s.BytesRead())
}

// Each consumer may put back the data of its callback, and gets it again in the next turn.
func TestUnshiftInsideConsumers(t *testing.T) {
	for name, consume := range map[string]func(s *evnet.Socket, fn func(p []byte)){
		"data":   func(s *evnet.Socket, fn func(p []byte)) { s.On.Data(fn) },
		"onread": func(s *evnet.Socket, fn func(p []byte)) { _ = s.OnRead(func(p []byte) bool { fn(p); return true }) },
		"scan":   func(s *evnet.Socket, fn func(p []byte)) { _ = s.Scan(nil, 0, fn) },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, "1\n", "2\n")
			var got kit.Notes
			inside := false
			consume(s, func(p []byte) {
				require.False(t, inside)
				inside = true
				defer func() { inside = false }()
				text := strings.TrimSuffix(string(p), "\n")
				got = append(got, text)
				if text == "1" {
					l.Post(got.Say("posted"))
					require.NoError(t, s.Unshift([]byte("again\n")))
				}
			})
			s.On.End(got.Say("end"))
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"1", "posted", "again", "2", "end"}, got)
		})
	}
}

// Within a chunk, bytes that are put back are delivered before the remaining tokens of the chunk.
func TestUnshiftInMidChunk(t *testing.T) {
	for name, parts := range map[string][]string{"one chunk": {"1\n2\n3"}, "joined": {"1", "\n2\n3"}, "bytes": evtest.Bytewise("1\n2\n3")} {
		for _, encoding := range []evnet.Encoding{"", evnet.UTF8} {
			t.Run(name+string(encoding), func(t *testing.T) {
				l := evnet.NewLoop()
				s := kit.Feed(l, parts...)
				if encoding != "" {
					require.NoError(t, s.SetEncoding(encoding))
				}
				var got kit.Notes
				require.NoError(t, s.Scan(nil, 0, func(line []byte) {
					if got = append(got, string(line)); len(got) == 1 {
						require.NoError(t, s.Unshift([]byte("x\ny")))
					}
				}))
				kit.Run(t, l)
				assert.Equal(t, kit.Notes{"1", "x", "y2", "3"}, got)
			})
		}
	}
}

// A consumer that always puts everything back does not starve other sockets.
func TestUnshift_Endlessly(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "x")
	n := 0
	s.On.Data(func(p []byte) {
		if n++; n == 1 {
			l.AfterFunc(0, func() { s.Destroy(nil) })
		}
		_ = s.Unshift(p)
	})
	kit.Run(t, l)
	assert.Greater(t, n, 1)
}

// Unshift after SetEncoding takes text: its bytes are delivered without decoding.
func TestUnshiftIsText(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "\xff")
	require.NoError(t, s.Unshift([]byte("\x01"))) // decoded with the rest, because SetEncoding follows
	require.NoError(t, s.SetEncoding(evnet.Hex))
	require.NoError(t, s.Unshift([]byte("text ")))
	got := kit.Collect(s)
	kit.Run(t, l)
	assert.Equal(t, "text 01ff", got.String())
}

// The end waits until the bytes that were put back are consumed. After the end Unshift is refused.
func TestUnshiftAndEnd(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l)
	require.NoError(t, s.Unshift([]byte("held")))
	var got kit.Notes
	s.On.End(func() {
		got = append(got, "end")
		kit.BadInput{Err: s.Unshift([]byte("x")), Is: []error{evnet.ErrUnshiftAfterEnd}, Code: "ERR_STREAM_UNSHIFT_AFTER_END_EVENT", Says: []string{"end"}}.Check(t)
		assert.False(t, s.Destroyed())
	})
	s.On.Close(func(bool) {
		got = append(got, "close")
		assert.ErrorIs(t, s.Unshift([]byte("x")), evnet.ErrUnshiftAfterEnd)
	})
	for range 5 {
		l.Post(func() {})
	}
	l.AfterFunc(0, func() {
		assert.Empty(t, got)
		s.On.Data(got.Chunk(""))
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"held", "end", "close"}, got)
}

func TestUnshiftDestroyed(t *testing.T) {
	s := kit.NewClient(evnet.NewLoop())
	s.Destroy(nil)
	kit.BadInput{Err: s.Unshift([]byte("x")), Is: []error{evnet.ErrDestroyed}, Code: "ERR_STREAM_DESTROYED"}.Check(t)
	s.Loop().Run()
}

// Unshift is allowed before the connection is made, and its bytes are delivered first.
func TestUnshiftBeforeConnect(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { _, _ = a.WriteString("world"); a.End(); a.Resume() })
	s := kit.NewClient(l)
	require.NoError(t, s.Unshift([]byte("hello ")))
	var got *bytes.Buffer
	s.On.Ready(func() { assert.Equal(t, 6, s.ReadableLength()); got = kit.Collect(s) })
	s.On.Close(func(bool) { _ = server.Close(nil) })
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, "hello world", got.String())
}

// A range over Chunks also gets the bytes of Unshift.
func TestUnshiftForChunks(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one", "two")
	kit.Aside(l, func() {
		var got kit.Notes
		for p := range s.Chunks() {
			if got = append(got, string(p)); len(got) == 1 {
				assert.NoError(t, s.Unshift([]byte("again")))
			}
		}
		assert.Equal(t, kit.Notes{"one", "again", "two"}, got)
	})
	kit.Run(t, l)
}

// Data handed to a goroutine that has not read it yet stays in front of later Unshift bytes, even if those are
// text.
func TestUnshiftBehindAHandedChunk(t *testing.T) {
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	kit.Aside(l, func() {
		conn, err := s.BlockingConn()
		assert.NoError(t, err)
		_, err = there.Write([]byte("hello"))
		assert.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		assert.NoError(t, err)
		l.Do(func() {
			assert.NoError(t, s.Unshift([]byte("U")))
			assert.NoError(t, s.SetEncoding("utf8"))
			detached, rest, err := s.Detach()
			if assert.NoError(t, err) {
				assert.Equal(t, "elloU", string(rest))
				assert.NoError(t, detached.Close())
			}
		})
	})
	kit.Run(t, l)
	assert.NoError(t, there.Close())
}
