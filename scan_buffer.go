package evnet

import "bytes"

// The data that Scan calls its split function with.

const firstJoin = 512 // bytes that are first added to an unfinished token

var endLine = []byte("\r")

// borrow makes p, a borrowed chunk of the transport, a part of the buffered data without copying it. scanBuffered
// follows. s.mu is held.
func (in *inbound) borrow(p []byte) {
	if in.decoder != nil {
		in.decode(p)
	} else {
		in.lent = p
	}
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

// keepBorrowed copies the rest of the borrowed chunk.
func (in *inbound) keepBorrowed() {
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

// lookAgain makes Scan start again with the buffered data, which has changed, even if split is running.
func (in *inbound) lookAgain() {
	if in.scan != nil {
		sc := *in.scan
		sc.seen, sc.wait, sc.done = 0, 0, false
		in.scan = &sc
	}
}
