package evnet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
)

const (
	maxIdleTokens = 100 // without progress, as in bufio
	firstJoin     = 512 // how much is first added to an unfinished token
)

var (
	endLine       = []byte("\r")
	nothing       = []byte{} // not nil: a slice of it may be a token
	scanLinesCode = reflect.ValueOf(bufio.ScanLines).Pointer()
)

// scan is what Socket.Scan was given. The socket's mu guards what changes.
type scan struct {
	split bufio.SplitFunc
	lines bool // split is bufio.ScanLines: only a new line feed can complete a token
	max   int
	fn    func(token []byte)

	seen int    // bytes held that split has looked at, and wants more
	done bool   // split has seen the end
	idle int    // tokens in a row that took nothing
	buf  []byte // reused for what is unfinished
}

// Scan cuts what the socket receives into tokens with any split function of bufio, or one of yours:
// lines, words, frames with a length in front. It makes fn the one consumer and starts the flow unless
// the socket was paused. fn runs on the loop, once for each token. What it gets is what Data would get,
// text once SetEncoding was called; it is borrowed, valid until fn returns; under the race detector it
// is overwritten then. A nil split is bufio.ScanLines.
//
// max is the longest token in bytes; 0 or less is bufio.MaxScanTokenSize, 64 KiB. What is unfinished,
// with the header that split takes along, must not be longer either: then the socket is destroyed with
// an error that is bufio.ErrTooLong. It is destroyed too with the error of split, and when split
// misbehaves: bufio.ErrNegativeAdvance, bufio.ErrAdvanceTooFar, and io.ErrNoProgress for more than 100
// tokens that take nothing.
//
// When the peer has ended, split is called with atEOF, before End is emitted; what it leaves then is a
// token cut off, io.ErrUnexpectedEOF. On bufio.ErrFinalToken fn is given the token, if there is one,
// and Scan ends; the advance counts, but 0 with a token at the peer's end stands for all there is.
//
// fn may do anything: Pause holds the tokens that are left until Resume; another Scan goes on with what
// is left, so that header lines may be followed by a body; Scan(nil, 0, nil) ends it, and what is left
// goes to the next consumer. With a nil fn alone it returns ErrNilArgument; with a Data listener, Pipe,
// OnRead, Chunks or BlockingConn, ErrConsumed; both change nothing. Node has none.
func (s *Socket) Scan(split bufio.SplitFunc, max int, fn func(token []byte)) error {
	if fn == nil && split != nil {
		return nilArgument("Scan", "function")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	if fn == nil {
		if in.scan != nil {
			in.scan = nil
			s.consumerGone()
		}
		return nil
	}
	if err := s.consumed("Scan"); err != nil {
		return err
	}
	if split == nil {
		split = bufio.ScanLines
	}
	if max <= 0 {
		max = bufio.MaxScanTokenSize
	}
	in.own()
	in.scan = &scan{split: split, max: max, fn: fn, lines: reflect.ValueOf(split).Pointer() == scanLinesCode}
	s.consumerAdded()
	s.scheduleFlow()
	return nil
}

// lookAgain makes Scan begin anew with what is held, which has changed: also where split is looking at
// it right now.
func (in *inbound) lookAgain() {
	if in.scan != nil {
		sc := *in.scan
		sc.seen, sc.done = 0, false
		in.scan = &sc
	}
}

// scanLent scans a chunk that the transport has lent, and keeps what is left of it. s.mu is held, and
// released.
func (s *Socket) scanLent(p []byte) {
	if s.in.decoder != nil {
		s.in.decode(p)
	} else {
		s.in.lent = p
	}
	defer func() { // even if a callback panics
		s.mu.Lock()
		s.in.keepLent()
		s.mu.Unlock()
	}()
	s.scanHeld()
	s.mu.Unlock()
}

// scanHeld gives fn the tokens of what is held, until one is unfinished or the next is not wanted. It
// runs on the loop; s.mu is held, but not while split and fn run.
func (s *Socket) scanHeld() {
	in := &s.in
	for s.tr != nil && in.scan != nil && in.wanted() && in.due() {
		sc, data, atEnd := in.scan, in.look(), in.atEnd
		if len(data) == 0 {
			if !atEnd {
				continue // it was half a character, which is no text yet
			}
			data = nothing
		}
		var advance int
		var token []byte
		var err error
		if atEnd || !sc.lines || bytes.IndexByte(data[sc.seen:], '\n') >= 0 {
			s.mu.Unlock()
			s.set.Loop.current = s
			advance, token, err = sc.split(data, atEnd)
			s.mu.Lock()
		}
		if s.tr == nil || in.scan != sc {
			continue // it has looked at something else
		}
		final := errors.Is(err, bufio.ErrFinalToken)
		if final && atEnd && token != nil && advance == 0 {
			advance = len(data)
		}
		if err = sc.judge(data, advance, token, err, atEnd); err == nil && in.scanned(advance, token) && !final {
			err = sc.tooLong()
		}
		if err != nil {
			err = &net.OpError{Op: "scan", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
			s.mu.Unlock()
			s.Destroy(err) // what fn or split has written leaves first
			s.mu.Lock()
			continue
		}
		if final {
			in.scan = nil
			s.consumerGone()
		}
		if token != nil {
			s.mu.Unlock()
			s.set.Loop.current = s
			sc.fn(token[:len(token):len(token)])
			scribbleOver(data[:advance])
			s.mu.Lock()
		}
		s.crowd()
		if in.own(); in.budget.spend(s.set.Loop) && in.due() && !in.yielded {
			s.yieldFlow()
		}
	}
}

// judge is why the answer of split cannot be accepted.
func (sc *scan) judge(data []byte, advance int, token []byte, err error, atEnd bool) error {
	final := errors.Is(err, bufio.ErrFinalToken)
	if token == nil || advance > 0 {
		sc.idle = 0
	} else {
		sc.idle++
	}
	switch {
	case err != nil && !final:
		return err
	case advance < 0:
		return bufio.ErrNegativeAdvance
	case advance > len(data):
		return bufio.ErrAdvanceTooFar
	case sc.idle > maxIdleTokens:
		return io.ErrNoProgress
	case len(token) > sc.max:
		return sc.tooLong()
	case atEnd && !final && advance == 0 && token == nil && len(data) > 0:
		return fmt.Errorf("%w: %d bytes of an unfinished token", io.ErrUnexpectedEOF, len(data))
	}
	return nil
}

func (sc *scan) tooLong() error {
	return fmt.Errorf("%w: more than %d bytes", bufio.ErrTooLong, sc.max)
}

// look gives split what it is to look at: what is held, with some of the chunk that was lent if that
// was not enough.
func (in *inbound) look() []byte {
	sc := in.scan
	rest := in.lent[in.lentAt:]
	switch {
	case in.decoder != nil:
		if len(in.raw) > 0 {
			raw := in.raw
			in.raw = nil
			in.decode(raw)
		}
		return in.text
	case len(rest) == 0:
	case len(in.raw) == 0:
		in.raw, in.inLent = rest, true
		in.lent, in.lentAt = nil, 0
	case len(in.raw) == sc.seen:
		// Only what the unfinished token needs, if that can be told: tokens behind it are
		// found in the chunk itself.
		n := max(len(in.raw), firstJoin)
		if sc.lines {
			if n = bytes.IndexByte(rest, '\n') + 1; n == 0 {
				n = len(rest)
			}
		}
		n = min(n, len(rest))
		in.raw = append(in.raw, rest[:n]...)
		in.lentAt += n
		in.joined += n
		sc.reuse(in.raw)
	}
	return in.raw
}

// decode adds the text of p to what is held.
func (in *inbound) decode(p []byte) {
	dst := in.text
	if len(dst) == 0 {
		dst = in.scan.buf[:0]
	}
	in.text = in.decoder.write(dst, p)
	in.scan.reuse(in.text)
}

// scanned takes what split has answered, and reports whether what is left is too long to wait for.
func (in *inbound) scanned(advance int, token []byte) (tooLong bool) {
	sc, held := in.scan, &in.raw
	if in.decoder != nil {
		held = &in.text
	}
	if advance == 0 && token == nil {
		sc.seen, sc.done = len(*held), in.atEnd
		rest := *held
		if sc.lines {
			rest = bytes.TrimSuffix(rest, endLine)
		}
		return !in.atEnd && len(rest) > sc.max
	}
	sc.seen = 0
	*held = (*held)[advance:]
	if left := len(in.raw); in.joined > 0 && left <= in.joined {
		in.lentAt -= left // from here on the chunk itself will do
		in.raw, in.joined = nil, 0
	}
	if len(*held) == 0 {
		*held, in.inLent = nil, false
		if cap(sc.buf) > maxChunk {
			sc.buf = nil
		}
	}
	return false
}

// reuse notes the memory of p, which is owned, for what is unfinished later.
func (sc *scan) reuse(p []byte) {
	if cap(p) > cap(sc.buf) {
		sc.buf = p[:0]
	}
}

// keepLent copies what is left of the chunk that was lent.
func (in *inbound) keepLent() {
	rest := in.lent[in.lentAt:]
	if !in.inLent && len(rest) == 0 {
		if in.lent != nil || in.joined > 0 {
			in.lent, in.lentAt, in.joined = nil, 0, 0
		}
		return
	}
	dst := in.raw
	if in.inLent {
		dst = nil
		if in.scan != nil {
			dst = in.scan.buf[:0]
		}
		dst = append(dst, in.raw...)
	}
	in.forgetRaw()
	if in.raw = append(dst, rest...); in.scan != nil {
		in.scan.reuse(in.raw)
	}
}

// forgetRaw drops what is held as it came.
func (in *inbound) forgetRaw() {
	if in.holding == &holdsNothing {
		return
	}
	in.raw, in.inLent = nil, false
	in.lent, in.lentAt, in.joined = nil, 0, 0
}
