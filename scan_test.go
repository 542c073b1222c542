package evnet_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestScanTokens(t *testing.T) {
	cases := map[string]struct {
		split bufio.SplitFunc
		parts []string
		want  kit.Notes
	}{
		"lines":              {nil, []string{"a\nb\r\n", "c", "d\n\ne"}, kit.Notes{"a", "b", "cd", "", "e"}},
		"lines, one by one":  {bufio.ScanLines, evtest.Bytewise("a\nb\r\n\ncd"), kit.Notes{"a", "b", "", "cd"}},
		"words":              {bufio.ScanWords, []string{"  one tw", "o  ", "  three "}, kit.Notes{"one", "two", "three"}},
		"characters":         {bufio.ScanRunes, []string{"a\xc3", "\xa9\xff"}, kit.Notes{"a", "é", "\uFFFD"}},
		"frames":             {evtest.Frames, []string{evtest.Frame("one") + evtest.Frame("")[:2], evtest.Frame("")[2:] + evtest.Frame("two")}, kit.Notes{"one", "", "two"}},
		"frames, one by one": {evtest.Frames, evtest.Bytewise(evtest.Frame("one") + evtest.Frame("two")), kit.Notes{"one", "two"}},
		"nothing":            {nil, nil, nil},
		"several in what is joined": {evtest.Frames, []string{evtest.Frame("one")[:5], evtest.Frame("one")[5:] + evtest.Frame("two") + evtest.Frame("three")[:5], evtest.Frame("three")[5:]},
			kit.Notes{"one", "two", "three"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			var got kit.Notes
			s := kit.Feed(l, c.parts...)
			require.NoError(t, s.Scan(c.split, 0, got.Chunk("")))
			s.On.End(got.Say("(end)"))
			kit.Run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, append(c.want, "(end)"), got)
			assert.Zero(t, s.ReadableLength())
		})
	}
}

// Scan finds the same lines as bufio.Scanner, whatever the chunks are and whenever the socket pauses.
func TestScanIsBufioScanner(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.SliceOf(rapid.SampledFrom([]byte("ab\r\n\n"))).Draw(rt, "text")
		long := rapid.IntRange(0, 3000).Draw(rt, "long")
		text = append(text, bytes.Repeat([]byte("x"), long)...)
		text = append(text, rapid.SliceOf(rapid.SampledFrom([]byte("c\r\n"))).Draw(rt, "tail")...)
		cuts := rapid.SliceOfN(rapid.IntRange(1, 700), 1, 20).Draw(rt, "cuts")
		pauses := rapid.SliceOfN(rapid.Bool(), 1, 10).Draw(rt, "pauses")
		encode := rapid.Bool().Draw(rt, "encode")

		var want kit.Notes
		sc := bufio.NewScanner(bytes.NewReader(text))
		for sc.Scan() {
			want = append(want, sc.Text())
		}
		var parts []string
		for i, rest := 0, string(text); len(rest) > 0; i++ {
			n := min(cuts[i%len(cuts)], len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		l := evnet.NewLoop()
		s := kit.Feed(l, parts...)
		if encode {
			require.NoError(rt, s.SetEncoding(evnet.Latin1))
		}
		var got kit.Notes
		resting := false
		require.NoError(rt, s.Scan(bufio.ScanLines, 0, func(token []byte) {
			require.False(rt, resting, "a token while paused")
			got = append(got, string(token))
			if pauses[len(got)%len(pauses)] {
				resting = true
				s.Pause()
				l.Post(func() { resting = false; s.Resume() })
			}
		}))
		s.On.End(func() { require.Equal(rt, want, got, "all lines before End") })
		kit.Run(t, l)
		require.NoError(rt, s.Err())
		require.Equal(rt, want, got)
	})
}

// splitter returns a split function that gives the scripted answers, call by call.
func splitter(answers ...func(data []byte, atEOF bool) (int, []byte, error)) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		return answer(data, atEOF)
	}
}

// A failure of Scan destroys the socket with an error that names it.
func TestScanFails(t *testing.T) {
	cause := errors.New("bad frame")
	answer := func(n int, token []byte, err error) bufio.SplitFunc {
		return splitter(func([]byte, bool) (int, []byte, error) { return n, token, err })
	}
	cases := map[string]struct {
		split  bufio.SplitFunc
		max    int
		parts  []string
		is     error
		says   string
		tokens int
	}{
		"unfinished":      {nil, 10, []string{"ok\n0123456789", "0"}, bufio.ErrTooLong, "10 bytes", 1},
		"finished":        {nil, 10, []string{"01234567890\n"}, bufio.ErrTooLong, "10 bytes", 0},
		"default":         {nil, 0, []string{strings.Repeat("x", 64<<10), "x"}, bufio.ErrTooLong, "65536 bytes", 0},
		"frame":           {evtest.Frames, 10, []string{evtest.Frame(strings.Repeat("x", 100))[:50]}, bufio.ErrTooLong, "10 bytes", 0},
		"own error":       {answer(0, nil, cause), 0, []string{"x"}, cause, "bad frame", 0},
		"negative":        {answer(-1, nil, nil), 0, []string{"x"}, bufio.ErrNegativeAdvance, "", 0},
		"negative, final": {answer(-1, nil, bufio.ErrFinalToken), 0, []string{"x"}, bufio.ErrNegativeAdvance, "", 0},
		"too far":         {answer(2, []byte("x"), nil), 0, []string{"x"}, bufio.ErrAdvanceTooFar, "", 0},
		"endless empties": {answer(0, []byte{}, nil), 0, []string{"x"}, io.ErrNoProgress, "", 100},
		"endless tokens":  {answer(0, []byte("x"), nil), 0, []string{"x"}, io.ErrNoProgress, "", 100},
		"cut off":         {evtest.Frames, 0, []string{evtest.Frame("one") + evtest.Frame("two")[:6]}, io.ErrUnexpectedEOF, "6 bytes", 1},
		"endless at an end": {splitter(func(_ []byte, atEOF bool) (int, []byte, error) {
			if atEOF {
				return 0, []byte{}, nil
			}
			return 0, nil, nil
		}), 0, []string{"x"}, io.ErrNoProgress, "", 100},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, c.parts...)
			var got kit.Notes
			tokens := 0
			require.NoError(t, s.Scan(c.split, c.max, func([]byte) { tokens++ }))
			s.On.End(got.Say("end"))
			s.On.Error(func(err error) { got = append(got, "error"); assert.ErrorIs(t, err, c.is) })
			s.On.Close(func(bool) { got = append(got, "close") })
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"error", "close"}, got)
			assert.ErrorContains(t, s.Err(), c.says)
			assert.ErrorContains(t, s.Err(), s.RemoteAddr().String())
			assert.Equal(t, c.tokens, tokens)
		})
	}
}

// A line of exactly the maximum length is allowed, whatever its chunks are.
func TestScanMaximum(t *testing.T) {
	for _, parts := range [][]string{{"0123456789\r\n"}, {"0123456789\r", "\n"}, {"0123456789", "\r\n"}, {"0123456789"}} {
		l := evnet.NewLoop()
		s := kit.Feed(l, parts...)
		var got kit.Notes
		require.NoError(t, s.Scan(nil, 10, got.Chunk("")))
		kit.Run(t, l)
		assert.NoError(t, s.Err())
		assert.Equal(t, kit.Notes{"0123456789"}, got)
	}
}

// The final token is delivered, and the data behind it waits for the next consumer.
func TestScanFinalToken(t *testing.T) {
	until := func(stop string) bufio.SplitFunc {
		return func(data []byte, atEOF bool) (int, []byte, error) {
			n, token, err := bufio.ScanWords(data, atEOF)
			if string(token) == stop {
				return n, token, bufio.ErrFinalToken
			}
			if string(token) == "silent" {
				return n, nil, bufio.ErrFinalToken
			}
			return n, token, err
		}
	}
	for name, c := range map[string]struct {
		text string
		want kit.Notes
	}{
		"a token":  {"one stop rest", kit.Notes{"one", "stop", "data rest"}},
		"no token": {"one silent rest", kit.Notes{"one", "data rest"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, c.text)
			var got kit.Notes
			require.NoError(t, s.Scan(until("stop"), 0, got.Chunk("")))
			s.On.End(func() { assert.Equal(t, c.want, got, "End waits for the rest") })
			var look func()
			look = func() {
				if s.Flowing() { // the last token is not delivered yet
					l.AfterFunc(0, look)
					return
				}
				assert.False(t, s.Paused())
				assert.Equal(t, 4, s.ReadableLength())
				s.On.Data(got.Chunk("data "))
			}
			look()
			kit.Run(t, l)
			assert.Equal(t, c.want, got)
		})
	}
	// The example of bufio, whose advance is 0.
	for text, want := range map[string]kit.Notes{"1,2,": {"<1", "<2", "<", "end"}, "1,2": {"<1", "<2", "end"}} {
		t.Run("at the end of "+text, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, text)
			var got kit.Notes
			require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
				if i := bytes.IndexByte(data, ','); i >= 0 {
					return i + 1, data[:i], nil
				}
				if !atEOF {
					return 0, nil, nil
				}
				return 0, data, bufio.ErrFinalToken
			}, 0, got.Chunk("<")))
			s.On.End(got.Say("end"))
			kit.Run(t, l)
			assert.Equal(t, want, got)
		})
	}
}

func TestScanNilFunction(t *testing.T) {
	s := kit.NewClient(evnet.NewLoop())
	kit.BadInput{Err: s.Scan(bufio.ScanLines, 0, nil), Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"Scan"}}.Check(t)
	assert.NoError(t, s.Scan(nil, 0, nil))
	s.Resume()
	assert.NoError(t, s.Scan(nil, 0, nil), "without a Scan it has no effect")
	assert.True(t, s.Flowing())
}

// Scan handles one token at a time: split is called for the next token only after fn has returned. Both may share
// state without a lock, and what fn changes applies to the very next token.
func TestScan_SplitSeesChangesOfFn(t *testing.T) {
	for name, parts := range map[string][]string{
		"one chunk":   {"3\nabc5\nd\nefg2\nhi"},
		"one by one":  evtest.Bytewise("3\nabc5\nd\nefg2\nhi"),
		"two in each": {"3\n", "ab", "c5", "\nd", "\ne", "fg", "2\n", "hi"},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, parts...)
			var got kit.Notes
			body := 0 // the length of the body that follows; 0: a line with a length follows
			running := false
			split := func(data []byte, atEOF bool) (int, []byte, error) {
				assert.False(t, running, "fn has not returned")
				switch {
				case body == 0:
					return bufio.ScanLines(data, atEOF)
				case len(data) < body:
					return 0, nil, nil
				}
				return body, data[:body], nil
			}
			require.NoError(t, s.Scan(split, 0, func(token []byte) {
				assert.False(t, running, "not re-entrant")
				running = true
				defer func() { running = false }()
				if body > 0 {
					got.Chunk("body ")(token)
					body = 0
					return
				}
				got.Chunk("length ")(token)
				body, _ = strconv.Atoi(string(token))
				s.Pause() // calls of the socket in fn do not call fn again either
				s.Resume()
			}))
			kit.Run(t, l)
			assert.NoError(t, s.Err())
			assert.Equal(t, kit.Notes{"length 3", "body abc", "length 5", "body d\nefg", "length 2", "body hi"}, got)
		})
	}
}
