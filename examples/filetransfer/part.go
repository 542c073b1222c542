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

// part is a file that is being received. It is created under a temporary name when its first byte arrives. Its methods block on the
// disk, so they must not run on the loop.
type part struct {
	header
	store  *store
	from   netip.Prefix // the sender
	file   *os.File     // nil until the first write
	digest hash.Hash    // of the first have bytes
	have   int64
	mark   hash.Hash // of the first marked bytes: a later connection can resume there
	marked int64
}

// openPart opens the received part of a file. It reports whether the complete file already exists, for example because the final
// reply to the sender was lost.
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
		return nil, false, fmt.Errorf("%q exists and is not a regular file", h.Name+suffix)
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

// begin sets the offset for writing: the end of the received part, or 0, which discards it.
func (p *part) begin(from int64) error {
	switch from {
	case p.have:
	case 0:
		p.have = 0
		p.digest.Reset()
		p.mark, p.marked = nil, 0
	default:
		return fmt.Errorf("invalid start offset %d: want 0 or %d", from, p.have)
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
		return 0, fmt.Errorf("more data than the announced %d bytes", p.Size)
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
	for rest := chunk[:n]; len(rest) > 0; {
		next := min(int64(len(rest)), step-p.have%step)
		p.digest.Write(rest[:next])
		p.have += next
		rest = rest[next:]
		if p.have%step == 0 {
			p.mark, p.marked = clone(p.digest), p.have
		}
	}
	return n, err
}

// finish publishes the file if its hash matches the header, and removes it otherwise.
func (p *part) finish() error {
	if p.sum() != p.SHA256 {
		if p.file != nil {
			p.store.close(p, true)
		}
		return fmt.Errorf("SHA-256 mismatch: received %s, want %s: file removed", p.sum(), p.SHA256)
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

// close closes the file. An incomplete file is kept only if a sender can resume from it.
func (p *part) close() {
	if p.file != nil {
		p.store.close(p, false)
	}
}
