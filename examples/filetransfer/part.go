package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/netip"
	"os"
)

// part is a file that is being received: it stands beside its place, under a name of its own, once a byte of it has come. Its
// methods wait for the disk, and so are for a goroutine.
type part struct {
	header
	store  *store
	from   netip.Prefix // the sender
	file   *os.File     // nil until something is written
	digest hash.Hash    // of the bytes that it has
	have   int64
	mark   hash.Hash // of the first marked bytes: a later sender can go on from there
	marked int64
}

// openPart opens what there is of a file. If the whole file is in its place already, as when the last word to the sender was
// lost, it reports that.
func openPart(ctx context.Context, s *store, h header, from netip.Prefix) (p *part, whole bool, err error) {
	switch info, err := s.dir.Lstat(h.Name); {
	case err == nil && (!info.Mode().IsRegular() || info.Size() != h.Size):
		return nil, false, errExists
	case err == nil:
		sum, err := s.sumOf(ctx, h.Name, info)
		if err == nil && sum != h.SHA256 {
			err = errExists
		}
		return nil, err == nil, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	}
	p = &part{header: h, store: s, from: from, digest: sha256.New()}
	info, err := s.dir.Lstat(h.Name + suffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, false, s.admit(h, 0, true, from)
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%q is in the way, and not a regular file", h.Name+suffix)
	}
	if info, err = s.reopen(p); err != nil {
		return nil, false, err
	}
	if err = p.resume(ctx, info); err == nil {
		err = s.admit(h, p.have, false, from)
	}
	if err != nil {
		p.close()
		return nil, false, err
	}
	return p, false, nil
}

func (p *part) sum() string { return hex.EncodeToString(p.digest.Sum(nil)) }

// begin lets writing go on at from: at what there is, or at 0, which throws that away.
func (p *part) begin(from int64) error {
	switch from {
	case p.have:
	case 0:
		p.have = 0
		p.digest.Reset()
		p.mark, p.marked = nil, 0
	default:
		return fmt.Errorf("the sender goes on at %d, not at %d", from, p.have)
	}
	if p.file == nil {
		return nil
	}
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if err := p.file.Truncate(p.have); err != nil {
		return err
	}
	p.store.shrink(info.Size() - p.have)
	_, err = p.file.Seek(p.have, io.SeekStart)
	return err
}

// Write appends to the file.
func (p *part) Write(chunk []byte) (written int, err error) {
	if left := p.Size - p.have; int64(len(chunk)) > left {
		return 0, fmt.Errorf("the sender goes on after its %d bytes", p.Size)
	}
	if p.file == nil {
		if err := p.store.create(p); err != nil {
			return 0, err
		}
	}
	if err := p.store.grow(int64(len(chunk))); err != nil {
		return 0, err
	}
	n, err := p.file.Write(chunk)
	p.store.shrink(int64(len(chunk) - n))
	for some := chunk[:n]; len(some) > 0; {
		next := min(int64(len(some)), step-p.have%step)
		p.digest.Write(some[:next])
		p.have += next
		some = some[next:]
		if p.have%step == 0 {
			p.mark, p.marked = clone(p.digest), p.have
		}
	}
	return n, err
}

// finish puts the file in its place if it is what the sender has promised, else away.
func (p *part) finish() error {
	if p.sum() != p.SHA256 {
		if p.file != nil {
			p.store.close(p, true)
		}
		return fmt.Errorf("what came has SHA-256 %s, not %s: thrown away", p.sum(), p.SHA256)
	}
	if p.file == nil { // an empty file
		if err := p.store.create(p); err != nil {
			return err
		}
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	return p.store.publish(p)
}

// close ends the writing. Of what is not whole only that stays which a sender can go on from.
func (p *part) close() {
	if p.file != nil {
		p.store.close(p, false)
	}
}
