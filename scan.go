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

// maxIdleTokens is the number of consecutive tokens without an advance that Scan accepts, as in bufio.
const maxIdleTokens = 100

var (
	noData        = []byte{} // not nil: a slice of it can be a token
	scanLinesCode = reflect.ValueOf(bufio.ScanLines).Pointer()
)

// scan holds the arguments of Socket.Scan and its state. The socket's mu guards the fields that change.
type scan struct {
	split bufio.SplitFunc
	lines bool // split is bufio.ScanLines: only a new line feed can complete a token
	max   int
	fn    func(token []byte)

	seen int    // buffered bytes that split was called with when it requested more
	wait int    // number of further bytes that do not make the next call due
	done bool   // split was called with atEOF
	idle int    // consecutive tokens without an advance
	buf  []byte // reused for an unfinished token

	place *list.Element // of the socket in deferredCalls, nil if it is not queued there
	timed bool          // the next call counts as deferred
}

// Scan splits the received data into tokens, such as lines, words, or length-prefixed frames. split is any split
// function, of package bufio or of the program; nil is bufio.ScanLines. Scan makes fn the only consumer and starts the
// flow unless the socket was paused.
//
// fn runs on the loop, once for each token. The token has the bytes that Data would get, which are text once
// SetEncoding was called. It is borrowed, valid until fn returns; the race detector overwrites it then. Until then fn may
// change it in place. Appending to it makes a copy.
//
// Scan handles one token at a time: it calls split for the next token after fn has returned. So split and fn may share
// state without a lock, and what fn changes applies to the very next token, also in the same chunk. A call of split
// that requests more data is repeated with the same beginning, so it must not change that state.
//
// What fn writes for the tokens of one read is sent together, as Write describes.
//
// max is the length of the longest token in bytes; 0 or less is bufio.MaxScanTokenSize, 64 KiB. It also limits an
// unfinished token together with the header that split consumes with it.
//
// split is called again when data has arrived. If a token of more than 4 KB is unfinished and split is slow, the call is
// deferred until the data has grown by an eighth, or until such calls take no more than about a ninth of the loop's
// time. So a peer that sends a long token in single bytes does not make split examine the whole token for each byte. A
// token may be delivered some milliseconds late. bufio.ScanLines is exempt: it examines new bytes only.
//
// After the peer's end, split is called with atEOF, before End is emitted. On bufio.ErrFinalToken fn gets the token, if
// there is one, and Scan ends. The advance counts, except that 0 with a token at the peer's end stands for all data.
//
// fn may call every method. Pause keeps the remaining tokens until Resume. Another Scan continues with the remaining
// data, so that header lines can be followed by a body. Scan(nil, 0, nil) ends the scan, and the next consumer gets the
// remaining data.
//
// Scan returns ErrNilArgument if only fn is nil, and ErrConsumed if there is a Data listener, Pipe, OnRead, Chunks or
// BlockingConn. Both change nothing. The socket is destroyed with an error that has its addresses and is one of these.
// The peer receives what was sent before, as described at Close.
//   - bufio.ErrTooLong, if a token is longer than max,
//   - the error of split,
//   - bufio.ErrNegativeAdvance or bufio.ErrAdvanceTooFar, if split misbehaves,
//   - io.ErrNoProgress, after more than 100 consecutive tokens without an advance,
//   - io.ErrUnexpectedEOF, if split leaves data at the peer's end: a truncated token.
//
// Node has no counterpart.
func (s *Socket) Scan(split bufio.SplitFunc, max int, fn func(token []byte)) error {
	if fn == nil && split != nil {
		return nilArgument("Scan", "function")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	if fn == nil {
		if in.scan != nil {
			s.leaveDeferredLocked()
			in.scan = nil
			s.consumerRemovedLocked()
		}
		return nil
	}
	if err := s.consumedLocked("Scan"); err != nil {
		return err
	}
	if split == nil {
		split = bufio.ScanLines
	}
	if max <= 0 {
		max = bufio.MaxScanTokenSize
	}
	in.own()
	s.leaveDeferredLocked()
	in.scan = &scan{split: split, max: max, fn: fn, lines: reflect.ValueOf(split).Pointer() == scanLinesCode}
	s.consumerAddedLocked()
	s.scheduleFlowLocked()
	return nil
}

// scanCall is a call that Scan makes without the lock, and its results.
type scanCall struct {
	kind  scanCallKind
	sc    *scan
	data  []byte // the arguments of split
	atEnd bool
	timed bool // a deferred call of split: its duration counts

	advance int // the results of split
	token   []byte
	err     error // of split, or why the socket is destroyed
}

type scanCallKind uint8

const (
	scanNothing scanCallKind = iota // no call: there is no data, or the next token cannot be delivered
	scanSplit                       // call split
	scanToken                       // call fn
	scanFailure                     // destroy the socket
)

// scanBuffered calls fn with the tokens of the buffered data, until one is unfinished or cannot be delivered. It runs
// on the loop.
func (s *Socket) scanBuffered() {
	var c scanCall
	returned := false
	defer func() {
		if !returned { // a callback has panicked
			s.mu.Lock()
			s.in.keepBorrowed()
			s.mu.Unlock()
		}
	}()
	for {
		s.mu.Lock()
		s.scanStepLocked(&c)
		s.mu.Unlock()
		switch c.kind {
		case scanSplit:
			c.split(s)
		case scanToken:
			s.loop().SetOwner((*handle)(s))
			c.sc.fn(c.token[:len(c.token):len(c.token)])
			poison(c.data[:c.advance])
		case scanFailure:
			s.refuse(c.err) // after sending the data that fn or split has written
		default:
			returned = true
			return
		}
	}
}

// split calls the split function.
func (c *scanCall) split(s *Socket) {
	l := s.set.Loop
	l.core().SetOwner((*handle)(s))
	var began time.Time
	if c.timed {
		began = time.Now()
	}
	c.advance, c.token, c.err = c.sc.split(c.data, c.atEnd)
	if c.timed && c.advance == 0 && c.token == nil {
		l.host().deferred.spend(time.Since(began))
	}
}

// scanStepLocked applies the results of the last call, and decides on the next one. If there is none, it copies the
// rest of a borrowed chunk. s.mu is held.
func (s *Socket) scanStepLocked(c *scanCall) {
	in := &s.in
	switch c.kind {
	case scanSplit:
		if s.applySplitLocked(c); c.kind != scanNothing {
			return
		}
	case scanToken:
		s.spendTokenLocked()
	}
	for s.stream.IsOpen() && in.scan != nil && s.canDeliverLocked() && (in.deliverable() || s.scanDeferredLocked()) {
		sc, data := in.scan, in.splitInput()
		if len(data) == 0 {
			if !in.atEnd {
				continue // the bytes are an incomplete character and not text yet
			}
			data = noData
		}
		c.sc, c.data, c.atEnd = sc, data, in.atEnd
		if in.atEnd || !sc.lines || bytes.IndexByte(data[sc.seen:], '\n') >= 0 {
			c.kind, c.timed = scanSplit, sc.timed
			if sc.timed = false; sc.place != nil {
				s.leaveDeferredLocked()
			}
			return
		}
		c.advance, c.token, c.err = 0, nil, nil // the results that bufio.ScanLines would return
		if s.applySplitLocked(c); c.kind != scanNothing {
			return
		}
	}
	c.kind = scanNothing
	in.keepBorrowed()
}

// applySplitLocked applies the results of split, and makes c the call that follows them. s.mu is held.
func (s *Socket) applySplitLocked(c *scanCall) {
	in, sc := &s.in, c.sc
	c.kind = scanNothing
	if !s.stream.IsOpen() || in.scan != sc {
		return // the data or the split function has changed
	}
	final := c.err != nil && errors.Is(c.err, bufio.ErrFinalToken)
	if final && c.atEnd && c.token != nil && c.advance == 0 {
		c.advance = len(c.data)
	}
	err := sc.check(c, final)
	if err == nil && in.scanned(c.advance, c.token) && !final {
		err = sc.tooLong()
	}
	if err != nil {
		c.kind = scanFailure
		c.err = &net.OpError{Op: "scan", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
		return
	}
	if final {
		s.leaveDeferredLocked()
		in.scan = nil
		s.consumerRemovedLocked()
	}
	if c.token != nil {
		c.kind = scanToken
		return
	}
	s.spendTokenLocked()
}

// spendTokenLocked counts one call of split, and of fn. When the socket's share of the turn is used up, the rest of the
// data is delivered in the next turn. s.mu is held.
func (s *Socket) spendTokenLocked() {
	s.crowdLocked()
	in := &s.in
	if in.own(); in.budget.spend(s.set.Loop, lightCall) && in.deliverable() && !in.yielded {
		s.yieldFlowLocked()
	}
}

// check returns why the results of split cannot be accepted, or nil. final says that split returned
// bufio.ErrFinalToken.
func (sc *scan) check(c *scanCall, final bool) error {
	if c.token == nil || c.advance > 0 {
		sc.idle = 0
	} else {
		sc.idle++
	}
	switch {
	case c.err != nil && !final:
		return c.err
	case c.advance < 0:
		return bufio.ErrNegativeAdvance
	case c.advance > len(c.data):
		return bufio.ErrAdvanceTooFar
	case sc.idle > maxIdleTokens:
		return io.ErrNoProgress
	case len(c.token) > sc.max:
		return sc.tooLong()
	case c.atEnd && !final && c.advance == 0 && c.token == nil && len(c.data) > 0:
		return fmt.Errorf("%w: %d bytes of an unfinished token", io.ErrUnexpectedEOF, len(c.data))
	}
	return nil
}

func (sc *scan) tooLong() error {
	return fmt.Errorf("%w: more than %d bytes", bufio.ErrTooLong, sc.max)
}
