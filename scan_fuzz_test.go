package evnet_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"evnet"
)

// cut is a conn that returns data in pieces of the sizes in cuts, which it repeats.
type cut struct {
	net.Conn
	data, cuts []byte
	at         int
}

func (c *cut) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := len(c.data)
	if len(c.cuts) > 0 {
		n = int(c.cuts[c.at%len(c.cuts)])%97 + 1
		c.at++
	}
	n = copy(p, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (c *cut) Write(p []byte) (int, error)     { return len(p), nil }
func (c *cut) Close() error                    { return nil }
func (c *cut) LocalAddr() net.Addr             { return nil }
func (c *cut) RemoteAddr() net.Addr            { return nil }
func (c *cut) SetReadDeadline(time.Time) error { return nil }

// shortFrames splits messages with a length prefix of one byte; 255 is an error.
func shortFrames(data []byte, _ bool) (int, []byte, error) {
	switch {
	case len(data) == 0:
		return 0, nil, nil
	case data[0] == 255:
		return 0, nil, errFrame
	case len(data) <= int(data[0]):
		return 0, nil, nil
	}
	return 1 + int(data[0]), data[1 : 1+int(data[0])], nil
}

var errFrame = errors.New("no frame has that length")

// upTo finds lines. A line with a zero byte is the final token, up to that byte.
func upTo(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexAny(data, "\x00\n"); i >= 0 && data[i] == 0 {
		return i, data[:i], bufio.ErrFinalToken
	}
	return bufio.ScanLines(data, atEOF)
}

var fuzzedSplits = []bufio.SplitFunc{bufio.ScanLines, bufio.ScanWords, bufio.ScanRunes, bufio.ScanBytes, shortFrames, upTo}

const fuzzedMax = 300

// scanAll scans data in pieces of the sizes in cuts, decoded if there is an encoding. It returns the tokens, the bytes
// behind a final token, and the error. Two bits of act at a time select what the callback does after a token: pause for
// a turn, or start a new Scan. The highest bit starts Scan late, when a chunk is already buffered. The next bit defers
// calls of split, even for short tokens.
func scanAll(t *testing.T, split bufio.SplitFunc, e evnet.Encoding, data, cuts []byte, act uint64) (tokens []string, rest []byte, cause error) {
	if act>>62&1 == 1 {
		defer evnet.DeferScans(2, -time.Hour)()
	}
	l := evnet.NewLoop()
	s := evnet.Wrap(&cut{data: data, cuts: cuts}, &evnet.SocketOptions{Loop: l})
	if e != "" {
		if err := s.SetEncoding(e); err != nil {
			t.Fatal(err)
		}
	}
	consuming := false
	var fn func([]byte)
	fn = func(token []byte) {
		tokens = append(tokens, string(token))
		l.Post(func() { // refused while Scan is active
			consuming = consuming || s.On.Data(func(p []byte) { rest = append(rest, p...) }).Err() == nil
		})
		switch act & 3 {
		case 1:
			s.Pause()
			l.Post(s.Resume)
		case 2:
			_ = s.Scan(split, fuzzedMax, fn)
		case 3:
			s.Pause()
			_ = s.Scan(split, fuzzedMax, fn)
			l.AfterFunc(0, s.Resume)
		}
		act >>= 2
	}
	late := act>>63 == 1 && len(data) > 0
	var begin func()
	begin = func() {
		if late && s.BytesRead() == 0 {
			l.AfterFunc(0, begin)
		} else if err := s.Scan(split, fuzzedMax, fn); err != nil {
			t.Error(err)
		}
	}
	begin()
	s.On.Error(func(err error) { cause = err })
	l.Run()
	return tokens, rest, cause
}

// reason returns the sentinel error behind an error of Scan.
func reason(err error) error {
	for _, sentinel := range []error{bufio.ErrTooLong, io.ErrUnexpectedEOF, io.ErrNoProgress, errFrame} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	return err
}

// FuzzScan checks that the tokens of a stream, the rest and the error do not depend on the chunks or on the callback. It
// also checks that bufio.Scanner finds the same tokens.
func FuzzScan(f *testing.F) {
	for i := range fuzzedSplits {
		n := byte(i)
		f.Add(n, []byte("one two\nthree\r\n\r\nfour"), []byte{0}, uint64(0))
		f.Add(n, []byte("a\xc3\xa9\xff \xe2\x82\xac\x00b\n\x00c"), []byte{0, 1}, uint64(0x1b1b1b))
		f.Add(n, []byte("one two\nthree\r\n\r\nfour"), []byte{8, 2}, uint64(1)<<63|5)
		f.Add(n, append([]byte{3, 'a', 'b', 'c', 0, 2, 'd'}, 'e', 255), []byte{2}, uint64(0x39))
		f.Add(n, bytes.Repeat([]byte("long "), 100), []byte{96, 3}, uint64(1))
		f.Add(n, bytes.Repeat([]byte("x"), 301), []byte{60}, uint64(0))
		f.Add(n, append([]byte{40}, bytes.Repeat([]byte("long\n"), 60)...), []byte{0, 7, 1}, uint64(1)<<62|0x39)
		f.Add(n, bytes.Repeat([]byte("x"), 301), []byte{0, 20}, uint64(1)<<62)
		f.Add(n, []byte{}, []byte{}, uint64(0))
	}
	f.Fuzz(func(t *testing.T, n byte, data, cuts []byte, act uint64) {
		split := fuzzedSplits[int(n)%len(fuzzedSplits)]
		whole, rest, err := scanAll(t, split, "", data, nil, 0)
		if bytes.IndexByte(data, 0) >= 0 {
			act &= 0xd555555555555555 // another Scan would continue behind the final token
		}
		tokens, left, cutErr := scanAll(t, split, "", data, cuts, act)
		if !slices.Equal(whole, tokens) || !bytes.Equal(rest, left) || reason(err) != reason(cutErr) {
			t.Fatalf("%q\nwhole: %q, %q, %v\nin pieces: %q, %q, %v", data, whole, rest, err, tokens, left, cutErr)
		}
		if err != nil {
			return // a Scanner has other limits
		}
		if want := bufioTokens(split, data); !slices.Equal(want, whole) {
			t.Fatalf("%q: bufio.Scanner finds %q, Scan %q", data, want, whole)
		}
	})
}

func bufioTokens(split bufio.SplitFunc, data []byte) (tokens []string) {
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+fuzzedMax)
	scanner.Split(split)
	for scanner.Scan() {
		tokens = append(tokens, scanner.Text())
	}
	return tokens
}

// FuzzScanText checks the same with an encoding: Scan splits the text that Data would get.
func FuzzScanText(f *testing.F) {
	encodings := []evnet.Encoding{evnet.UTF8, evnet.UTF16LE, evnet.Latin1, evnet.ASCII, evnet.Base64, evnet.Base64URL, evnet.Hex}
	for i := range fuzzedSplits {
		for e := range encodings {
			f.Add(byte(i), byte(e), []byte("a\xc3\xa9\xff \xe2\x82\xac\n\xf0\x9f\x98\x80 b\n\xe2\x82"), []byte{0, 1}, uint64(0x1b1b1b))
			f.Add(byte(i), byte(e), []byte("a\x00\n\x00\x3d\xd8\x00\xde\n\x00 \x00\x3d\xd8\x61"), []byte{2}, uint64(0))
			f.Add(byte(i), byte(e), []byte("\xe2\x82\xac \n6 a\xe2\x82"), []byte{1}, uint64(1)<<63)
			f.Add(byte(i), byte(e), bytes.Repeat([]byte("a\x00b\xc3\xa9cd \n"), 20), []byte{0, 3}, uint64(1)<<62|1)
		}
	}
	f.Fuzz(func(t *testing.T, n, e byte, data, cuts []byte, act uint64) {
		split, encoding := fuzzedSplits[int(n)%len(fuzzedSplits)], encodings[int(e)%len(encodings)]
		l := evnet.NewLoop()
		s := evnet.Wrap(&cut{data: data}, &evnet.SocketOptions{Loop: l})
		if err := s.SetEncoding(encoding); err != nil {
			t.Fatal(err)
		}
		var text []byte
		s.On.Data(func(p []byte) { text = append(text, p...) })
		l.Run()
		if bytes.IndexByte(text, 0) >= 0 {
			act &= 0xd555555555555555
		}
		whole, rest, err := scanAll(t, split, encoding, data, nil, 0)
		tokens, left, cutErr := scanAll(t, split, encoding, data, cuts, act)
		if !slices.Equal(whole, tokens) || !bytes.Equal(rest, left) || reason(err) != reason(cutErr) {
			t.Fatalf("%s %q\nwhole: %q, %q, %v\nin pieces: %q, %q, %v", encoding, data, whole, rest, err, tokens, left, cutErr)
		}
		if err != nil {
			return
		}
		if want := bufioTokens(split, text); !slices.Equal(want, whole) {
			t.Fatalf("%s %q: bufio.Scanner finds %q, Scan %q", encoding, text, want, whole)
		}
	})
}
