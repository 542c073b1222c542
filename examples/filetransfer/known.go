package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"time"
)

// A sender of 130 bytes may name a file of many gigabytes. So a receiver keeps the hash of every file that it has received or
// hashed, and hashes what it does not know once, one file at a time, and only so many bytes in an hour. The hash goes on when the
// sender leaves: otherwise it would begin anew for each that does.

// maxKnown bounds the memory for hashes.
const maxKnown = 10_000

var errHashed = tryLater("the receiver has a file of this name and size, and has hashed enough files for now")

// known is what a hash has found, of a file as it was then.
type known struct {
	info   os.FileInfo
	sum    string    // of a whole file
	digest hash.Hash // of the first have bytes of an unfinished one
	have   int64
}

// hashes are the known ones by file name. Its owner's lock guards it.
type hashes struct {
	of     map[string]known
	hourly int64   // bytes that may be hashed in an hour; 0 is any number
	left   float64 // of these, now
	filled time.Time
	now    func() time.Time
}

func newHashes(hourly int64) hashes {
	return hashes{of: map[string]known{}, hourly: hourly, left: float64(hourly), filled: time.Now(), now: time.Now}
}

func (h *hashes) remember(name string, k known) {
	for other := range h.of {
		if len(h.of) < maxKnown {
			break
		}
		delete(h.of, other)
	}
	h.of[name] = k
}

// rememberPart keeps how far an unfinished file was hashed while it was written.
func (h *hashes) rememberPart(p *part, info os.FileInfo) {
	if p.mark != nil {
		h.remember(p.Name+suffix, known{info: info, digest: p.mark, have: p.marked})
	}
}

func (h *hashes) forget(name string) { delete(h.of, name) }

// lookUp returns what is known of a file, if it has not changed since.
func (h *hashes) lookUp(name string, now os.FileInfo) (known, bool) {
	k, ok := h.of[name]
	return k, ok && os.SameFile(k.info, now) && k.info.Size() == now.Size() && k.info.ModTime().Equal(now.ModTime())
}

// take returns how many of n bytes may be hashed now.
func (h *hashes) take(n int64) int64 {
	if h.hourly == 0 {
		return n
	}
	now := h.now()
	h.left = min(h.left+float64(h.hourly)*now.Sub(h.filled).Hours(), float64(h.hourly))
	h.filled = now
	n = min(n, int64(h.left))
	h.left -= float64(n)
	return n
}

func (h *hashes) giveBack(n int64) { h.left += float64(n) }

// turn waits until no other file is hashed. The returned function lets the next one have its turn.
func (s *store) turn(ctx context.Context) (func(), error) {
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-ctx.Done():
		return nil, errBroken
	}
}

// sumOf is the hash of a whole file in the directory.
func (s *store) sumOf(ctx context.Context, name string, info os.FileInfo) (string, error) {
	if k, ok := s.knownOf(name, info); ok {
		return k.sum, nil
	}
	done, err := s.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	s.mu.Lock()
	enough := s.hashes.take(info.Size())
	if enough < info.Size() {
		s.hashes.giveBack(enough)
	}
	s.mu.Unlock()
	switch {
	case s.hash > 0 && info.Size() > int64(s.hash):
		return "", errors.New("the receiver has a file of this name and size, which is too large to be hashed")
	case enough < info.Size():
		return "", errHashed
	}
	file, err := s.dir.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	for at := int64(0); at < info.Size(); at += step {
		if _, err := hashSome(s.ctx, digest, file, min(step, info.Size()-at)); err != nil {
			return "", err
		}
	}
	sum := hex.EncodeToString(digest.Sum(nil))
	if after, err := file.Stat(); err == nil && os.SameFile(info, after) && after.ModTime().Equal(info.ModTime()) {
		s.mu.Lock()
		s.hashes.remember(name, known{info: info, sum: sum})
		s.mu.Unlock()
	}
	return sum, nil
}

func (s *store) knownOf(name string, info os.FileInfo) (known, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hashes.lookUp(name, info)
}

// resume finds out how many bytes of an unfinished file can be gone on from, and hashes them if their hash is not known.
func (p *part) resume(ctx context.Context, info os.FileInfo) error {
	want := min(info.Size(), p.Size)
	if want < p.Size {
		want -= want % step
	}
	if k, ok := p.store.knownOf(p.Name+suffix, info); ok && k.have == want {
		p.have, p.digest = want, clone(k.digest)
		p.mark, p.marked = k.digest, want
		return nil
	}
	done, err := p.store.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	p.store.mu.Lock()
	may := p.store.hashes.take(want)
	if may < want {
		p.store.hashes.giveBack(may % step)
		may -= may % step // the rest is sent again
	}
	p.store.mu.Unlock()
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for p.have < may {
		n, err := hashSome(p.store.ctx, p.digest, p.file, min(step, may-p.have))
		if err != nil {
			return err
		}
		p.have += n
	}
	p.mark, p.marked = clone(p.digest), p.have
	return nil
}

// clone copies the state of a hash.
func clone(digest hash.Hash) hash.Hash {
	copied, err := digest.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // SHA-256 can be copied
	}
	return copied.(hash.Hash)
}
