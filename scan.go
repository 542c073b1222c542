package evnet

import (
	"bufio"
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"time"
)

const (
	maxIdleTokens = 100 // in a row without progress, as in bufio
	firstJoin     = 512 // bytes that are first added to an unfinished token
)

var (
	endLine       = []byte("\r")
	nothing       = []byte{} // not nil: a slice of it can be a token
	scanLinesCode = reflect.ValueOf(bufio.ScanLines).Pointer()
)

// scan holds the arguments of Socket.Scan and its state. The socket's mu guards what changes.
type scan struct {
	split bufio.SplitFunc
	lines bool // split is bufio.ScanLines: only a new line feed can complete a token
	max   int
	fn    func(token []byte)

	seen int    // buffered bytes that split was called with when it requested more
	wait int    // so many further bytes do not make the next call due
	done bool   // split was called with atEOF
	idle int    // tokens in a row without an advance
	buf  []byte // reused for an unfinished token

	place *list.Element // of the socket in deferredCalls, nil if it does not wait
	timed bool          // the next call counts as deferred
}

// Scan cuts the data that the socket receives into tokens with any split function of bufio, or one of
// the program: lines, words, frames with a length in front. A nil split is bufio.ScanLines. It makes fn
// the one consumer and starts the flow unless the socket was paused. fn runs on the loop, once for each
// token. The token is what Data would get, text once SetEncoding was called. It is borrowed, valid until
// fn returns; the race detector overwrites it then.
//
// max is the longest token in bytes; 0 or less is bufio.MaxScanTokenSize, 64 KiB. An unfinished token,
// with the header that split takes along, must not be longer either: the socket is destroyed with
// an error that is bufio.ErrTooLong. It is also destroyed with the error of split, and if split
// misbehaves: with bufio.ErrNegativeAdvance, bufio.ErrAdvanceTooFar, or io.ErrNoProgress for more than
// 100 tokens in a row that advance by nothing.
//
// split is called again when data has arrived. If a token of more than 4 KB is unfinished and split is
// slow, the call waits until the data has grown by an eighth, or until such calls take no more than
// about a ninth of the loop's time. So a peer that sends a long token in single bytes does not make split
// look at all of it for each, and a token may be delivered some milliseconds late. bufio.ScanLines is
// exempt: it looks at new bytes only.
//
// After the peer's end split is called with atEOF, before End is emitted; data that it leaves then is a
// truncated token, io.ErrUnexpectedEOF. On bufio.ErrFinalToken fn gets the token, if there is one,
// and Scan ends; the advance counts, but 0 with a token at the peer's end stands for all data.
//
// fn may call every method: Pause keeps the remaining tokens until Resume; another Scan continues with
// the remaining data, so that header lines can be followed by a body; Scan(nil, 0, nil) ends it, and the
// next consumer gets the remaining data. With a nil fn alone it returns ErrNilArgument; with a Data
// listener, Pipe, OnRead, Chunks or BlockingConn, ErrConsumed; both change nothing. Node has none.
func (s *Socket) Scan(split bufio.SplitFunc, max int, fn func(token []byte)) error {
	if fn == nil && split != nil {
		return nilArgument("Scan", "function")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	if fn == nil {
		if in.scan != nil {
			s.leaveDeferred()
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
	s.leaveDeferred()
	in.scan = &scan{split: split, max: max, fn: fn, lines: reflect.ValueOf(split).Pointer() == scanLinesCode}
	s.consumerAdded()
	s.scheduleFlow()
	return nil
}

// lookAgain makes Scan start again with the buffered data, which has changed, even if split is running.
func (in *inbound) lookAgain() {
	if in.scan != nil {
		sc := *in.scan
		sc.seen, sc.wait, sc.done = 0, 0, false
		in.scan = &sc
	}
}

// scanLent scans a borrowed chunk of the transport and keeps the rest of it. s.mu is held, and
// released.
func (s *Socket) scanLent(p []byte) {
	if s.in.decoder != nil {
		s.in.decode(p)
	} else {
		s.in.lent = p
	}
	defer func() { // also when a callback panics
		s.mu.Lock()
		s.in.keepLent()
		s.mu.Unlock()
	}()
	s.scanHeld()
	s.mu.Unlock()
}

// scanHeld calls fn with the tokens of the buffered data, until one is unfinished or the next is not wanted.
// It runs on the loop; s.mu is held, but not while split and fn run.
func (s *Socket) scanHeld() {
	in := &s.in
	for s.tr != nil && in.scan != nil && in.wanted() && (in.due() || s.scanDeferred()) {
		sc, data, atEnd := in.scan, in.look(), in.atEnd
		if len(data) == 0 {
			if !atEnd {
				continue // half a character is not text yet
			}
			data = nothing
		}
		var advance int
		var token []byte
		var err error
		if atEnd || !sc.lines || bytes.IndexByte(data[sc.seen:], '\n') >= 0 {
			timed := sc.timed
			sc.timed = false
			s.leaveDeferred()
			s.mu.Unlock()
			s.set.Loop.current = s
			var began time.Time
			if timed {
				began = time.Now()
			}
			advance, token, err = sc.split(data, atEnd)
			if timed && advance == 0 && token == nil {
				s.set.Loop.deferred.spend(time.Since(began))
			}
			s.mu.Lock()
		}
		if s.tr == nil || in.scan != sc {
			continue // the data or the split function is another now
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
			s.Destroy(err) // after it has sent what fn or split has written
			s.mu.Lock()
			continue
		}
		if final {
			s.leaveDeferred()
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
		if in.own(); in.budget.spend(s.set.Loop, lightCall) && in.due() && !in.yielded {
			s.yieldFlow()
		}
	}
}

// judge returns why the result of split cannot be accepted, or nil.
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

// look returns the data for split: the buffered data, and a part of the borrowed chunk if split has requested
// more.
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
	case sc.seen > 0:
		// Only what the unfinished token needs, if that is known: the tokens after it are
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

// decode appends the text of p to the buffered text.
func (in *inbound) decode(p []byte) {
	dst := in.text
	if len(dst) == 0 {
		dst = in.scan.buf[:0]
	}
	in.text = in.decoder.Write(dst, p)
	in.scan.reuse(in.text)
}

// scanned applies the result of split and reports whether the unfinished token is too long.
func (in *inbound) scanned(advance int, token []byte) (tooLong bool) {
	sc, held := in.scan, &in.raw
	if in.decoder != nil {
		held = &in.text
	}
	if advance == 0 && token == nil {
		sc.seen, sc.wait, sc.done = len(*held), sc.growth(len(*held)), in.atEnd
		rest := *held
		if sc.lines {
			rest = bytes.TrimSuffix(rest, endLine)
		}
		return !in.atEnd && len(rest) > sc.max
	}
	sc.seen, sc.wait = 0, 0
	*held = (*held)[advance:]
	if left := len(in.raw); in.joined > 0 && left <= in.joined {
		in.lentAt -= left // the chunk itself has all that follows
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

// reuse notes the memory of p, which is owned, for unfinished tokens.
func (sc *scan) reuse(p []byte) {
	if cap(p) > cap(sc.buf) {
		sc.buf = p[:0]
	}
}

// keepLent copies the rest of the borrowed chunk.
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

// forgetRaw drops the buffered data that is not decoded.
func (in *inbound) forgetRaw() {
	if in.holding == &holdsNothing {
		return
	}
	in.raw, in.inLent = nil, false
	in.lent, in.lentAt, in.joined = nil, 0, 0
}
