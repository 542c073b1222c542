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

// With 130 bytes a sender can name a file of many gigabytes. So a receiver keeps the hash of every file that it has received or
// hashed. It hashes an unknown file once, one file at a time, within a limit of bytes per hour. The hash continues if the sender
// disconnects; otherwise each such sender would restart it.

// maxKnown bounds the memory for hashes.
const maxKnown = 10_000

var errHashed = tryLater("a file with this name and size exists, and the hashing limit is reached")

// known is the result of a hash, with the state of the file at that time.
type known struct {
	info   os.FileInfo
	sum    string    // of a whole file
	digest hash.Hash // of the first have bytes of an unfinished one
	have   int64
}

// hashes holds the known hashes by file name. The lock of its owner guards it.
type hashes struct {
	byName map[string]known
	hourly int64   // bytes that may be hashed per hour; 0 means unlimited
	left   float64 // bytes that may be hashed now
	filled time.Time
	now    func() time.Time
}

func newHashes(hourly int64) hashes {
	return hashes{byName: map[string]known{}, hourly: hourly, left: float64(hourly), filled: time.Now(), now: time.Now}
}

func (h *hashes) remember(name string, k known) {
	for other := range h.byName {
		if len(h.byName) < maxKnown {
			break
		}
		delete(h.byName, other)
	}
	h.byName[name] = k
}

// rememberPart keeps the hash of an unfinished file, which was computed while the file was written.
func (h *hashes) rememberPart(p *part, info os.FileInfo) {
	if p.mark != nil {
		h.remember(p.Name+suffix, known{info: info, digest: p.mark, have: p.marked})
	}
}

func (h *hashes) forget(name string) { delete(h.byName, name) }

// lookUp returns the known hash of a file, if the file has not changed since.
func (h *hashes) lookUp(name string, now os.FileInfo) (known, bool) {
	k, ok := h.byName[name]
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

func (h *hashes) refund(n int64) { h.left += float64(n) }

// lockHashing waits until no other file is being hashed. The returned function unlocks it.
func (s *store) lockHashing(ctx context.Context) (func(), error) {
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-ctx.Done():
		return nil, errBroken
	}
}

// sumOf returns the hash of a complete file in the directory.
func (s *store) sumOf(ctx context.Context, name string, info os.FileInfo) (string, error) {
	if k, ok := s.lookUp(name, info); ok {
		return k.sum, nil
	}
	unlock, err := s.lockHashing(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	s.mu.Lock()
	allowed := s.hashes.take(info.Size())
	if allowed < info.Size() {
		s.hashes.refund(allowed)
	}
	s.mu.Unlock()
	switch {
	case s.hash > 0 && info.Size() > int64(s.hash):
		return "", errors.New("a file with this name and size exists and is too large to hash")
	case allowed < info.Size():
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

func (s *store) lookUp(name string, info os.FileInfo) (known, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hashes.lookUp(name, info)
}

// resume determines how many bytes of an unfinished file a sender can resume from. It hashes them if their hash is not known.
func (p *part) resume(ctx context.Context, info os.FileInfo) error {
	want := min(info.Size(), p.Size)
	if want < p.Size {
		want -= want % step
	}
	if k, ok := p.store.lookUp(p.Name+suffix, info); ok && k.have == want {
		p.have, p.digest = want, clone(k.digest)
		p.mark, p.marked = k.digest, want
		return nil
	}
	unlock, err := p.store.lockHashing(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p.store.mu.Lock()
	allowed := p.store.hashes.take(want)
	if allowed < want {
		p.store.hashes.refund(allowed % step)
		allowed -= allowed % step // the rest is sent again
	}
	p.store.mu.Unlock()
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for p.have < allowed {
		n, err := hashSome(p.store.ctx, p.digest, p.file, min(step, allowed-p.have))
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
