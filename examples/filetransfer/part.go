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
	"os"
)

// part is a file that is not whole yet: it stands beside its place, under a name of its own. Its methods
// wait for the disk, and so are for a goroutine.
type part struct {
	header
	dir    *os.Root // which no name leads out of, by a symbolic link neither
	file   *os.File
	digest hash.Hash // of the bytes that it has
	have   int64
}

var errExists = errors.New("the receiver has another file of this name")

// openPart opens what there is of a file, and makes it if there is nothing. If the whole file is in its place
// already, as when the last word to the sender was lost, it reports that.
func openPart(ctx context.Context, dir *os.Root, h header) (p *part, whole bool, err error) {
	p = &part{header: h, dir: dir, digest: sha256.New()}
	switch info, err := dir.Lstat(h.Name); {
	case err == nil && (!info.Mode().IsRegular() || info.Size() != h.Size):
		return nil, false, errExists
	case err == nil:
		if p.file, err = dir.Open(h.Name); err != nil {
			return nil, false, err
		}
		defer p.file.Close()
		if err := p.read(ctx, h.Size); err != nil {
			return nil, false, err
		}
		if p.sum() != h.SHA256 {
			return nil, false, errExists
		}
		return p, true, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	}
	if info, err := dir.Lstat(h.Name + suffix); err == nil && !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is in the way, and not a regular file", h.Name+suffix)
	}
	if p.file, err = dir.OpenFile(h.Name+suffix, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, false, err
	}
	info, err := p.file.Stat()
	if err == nil {
		have := min(info.Size(), h.Size)
		if have < h.Size {
			have -= have % step
		}
		err = p.read(ctx, have)
	}
	if err != nil {
		_ = p.file.Close()
		return nil, false, err
	}
	return p, false, nil
}

// read hashes the first n bytes.
func (p *part) read(ctx context.Context, n int64) error {
	for p.have < n {
		some, err := hashSome(ctx, p.digest, p.file, min(step, n-p.have))
		if err != nil {
			return fmt.Errorf("reading %s: %w", p.Name, err)
		}
		p.have += some
	}
	return nil
}

func (p *part) sum() string { return hex.EncodeToString(p.digest.Sum(nil)) }

// begin lets writing go on at from: at what there is, or at 0, which throws that away.
func (p *part) begin(from int64) error {
	switch from {
	case p.have:
	case 0:
		p.have = 0
		p.digest.Reset()
	default:
		return fmt.Errorf("the sender goes on at %d, not at %d", from, p.have)
	}
	if err := p.file.Truncate(p.have); err != nil {
		return err
	}
	_, err := p.file.Seek(p.have, io.SeekStart)
	return err
}

// Write appends to the file.
func (p *part) Write(chunk []byte) (int, error) {
	if left := p.Size - p.have; int64(len(chunk)) > left {
		return 0, fmt.Errorf("the sender goes on after its %d bytes", p.Size)
	}
	n, err := p.file.Write(chunk)
	p.digest.Write(chunk[:n])
	p.have += int64(n)
	return n, err
}

// finish puts the file in its place if it is what the sender has promised, else away.
func (p *part) finish() error {
	if p.sum() != p.SHA256 {
		_ = p.dir.Remove(p.Name + suffix)
		return fmt.Errorf("what came has SHA-256 %s, not %s: thrown away", p.sum(), p.SHA256)
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil { // Windows renames no open file
		return err
	}
	// A link, unlike a rename, never takes the place of what somebody else has put there meanwhile.
	err := p.dir.Link(p.Name+suffix, p.Name)
	switch {
	case err == nil:
		return p.dir.Remove(p.Name + suffix)
	case errors.Is(err, fs.ErrExist):
		return errExists
	}
	return p.dir.Rename(p.Name+suffix, p.Name) // a file system without links
}
