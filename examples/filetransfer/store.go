package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// measureTime is how long a count of the directory, or of the free space, stays valid. In between, the store counts its own
// writes.
const measureTime = time.Second

var (
	errExists = errors.New("a different file with this name exists")
	errBusy   = temporaryError{errors.New("another sender is sending a file with this name")}
	errFull   = errors.New("directory limit exceeded")
	errNoDisk = errors.New("not enough disk space")
)

// store is the directory for received files, with the state of its limits. Its methods block on the disk and must not run on the loop,
// except claim and release.
type store struct {
	limits
	dir     *os.Root        // names and symbolic links cannot escape from it
	ctx     context.Context // ends with the receiver
	hashing chan struct{}   // a semaphore: one file is hashed at a time

	claims  sync.Mutex
	claimed map[string]bool // keys of the names that are being received or removed

	mu         sync.Mutex
	counted    time.Time
	used       int64                   // bytes of all files in the directory
	count      int                     // of these files
	unfinished map[string]netip.Prefix // by key: the address of the sender, if known since the receiver started
	open       map[*part]os.FileInfo   // unfinished files that are being written
	measured   time.Time
	left       int64 // free bytes on the disk beyond keep-free
	hashes     hashes
}

func newStore(ctx context.Context, dir *os.Root, l limits) *store {
	return &store{
		limits: l, dir: dir, ctx: ctx, hashing: make(chan struct{}, 1), claimed: map[string]bool{},
		unfinished: map[string]netip.Prefix{}, open: map[*part]os.FileInfo{}, hashes: newHashes(int64(l.hash)),
	}
}

// claim reserves a name and reports whether it was free.
func (s *store) claim(name string) bool {
	s.claims.Lock()
	defer s.claims.Unlock()
	if s.claimed[key(name)] {
		return false
	}
	s.claimed[key(name)] = true
	return true
}

func (s *store) release(name string) {
	s.claims.Lock()
	defer s.claims.Unlock()
	delete(s.claimed, key(name))
}

// sweep removes unfinished files that are too old or too small to resume from.
func (s *store) sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.countLocked()
}

// countLocked counts the files in the directory and removes stale unfinished files.
func (s *store) countLocked() error {
	dir, err := s.dir.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	found := map[string]netip.Prefix{}
	s.used, s.count, s.counted = 0, 0, time.Now()
	for s.files == 0 || s.count <= s.files { // stop reading a directory over its limit
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			info, err := s.dir.Lstat(name)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			if whole, ok := strings.CutSuffix(name, suffix); ok {
				if s.removeStaleLocked(whole, info) {
					continue
				}
				found[key(whole)] = s.unfinished[key(whole)]
			}
			s.count++
			s.used += info.Size()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	s.unfinished = found
	return nil
}

// removeStaleLocked removes an unfinished file if no sender is using it and it is too old or too small to resume from.
func (s *store) removeStaleLocked(name string, info os.FileInfo) bool {
	old := s.partAge > 0 && time.Since(info.ModTime()) > s.partAge
	if !old && info.Size() >= step || !s.claim(name) {
		return false
	}
	defer s.release(name)
	if err := s.dir.Remove(name + suffix); err != nil {
		return false
	}
	s.hashes.forget(name + suffix)
	log.Printf("removed unfinished file %q (%s)", name+suffix, bytes(info.Size()))
	return true
}

// admit returns an error if a limit forbids receiving the rest of a file, of which have bytes exist.
func (s *store) admit(h header, have int64, isNew bool, from netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.counted) >= measureTime {
		if err := s.countLocked(); err != nil {
			return err
		}
	}
	if isNew {
		if err := s.admitNewLocked(from); err != nil {
			return err
		}
	}
	if s.total > 0 && h.Size-have > int64(s.total)-s.used {
		return fmt.Errorf("%w: %s of %v used", errFull, bytes(s.used), &s.total)
	}
	s.measureLocked(0)
	if h.Size-have > s.left {
		return fmt.Errorf("%w: %s left", errNoDisk, bytes(max(s.left, 0)))
	}
	return nil
}

// admitNewLocked returns an error if a limit forbids another unfinished file.
func (s *store) admitNewLocked(from netip.Prefix) error {
	owned := 0
	for _, owner := range s.unfinished {
		if owner == from && from.IsValid() {
			owned++
		}
	}
	switch {
	case s.files > 0 && s.count >= s.files:
		return tryLater("too many files in the directory: the limit is %d", s.files)
	case s.parts > 0 && len(s.unfinished) >= s.parts:
		return tryLater("too many unfinished files: the limit is %d", s.parts)
	case s.perAddress > 0 && owned >= s.perAddress:
		return tryLater("too many unfinished files from this address: the limit is %d", s.perAddress)
	}
	return nil
}

// create creates the file of a part.
func (s *store) create(p *part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admitNewLocked(p.from); err != nil { // other senders may have started since admit
		return err
	}
	file, err := s.dir.OpenFile(p.Name+suffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return errBusy // under another name that the file system does not distinguish
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	p.file = file
	s.open[p] = info
	s.unfinished[key(p.Name)] = p.from
	s.count++
	return nil
}

// reopen opens the existing file of a part. It fails if the same file is being written under another name.
func (s *store) reopen(p *part) (os.FileInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := s.dir.OpenFile(p.Name+suffix, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	for _, other := range s.open {
		if err == nil && os.SameFile(info, other) {
			err = errBusy
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	p.file = file
	s.open[p] = info
	if _, ok := s.unfinished[key(p.Name)]; !ok { // created since the directory was counted
		s.unfinished[key(p.Name)] = netip.Prefix{}
	}
	return info, nil
}

// grow counts bytes that are about to be written. It fails if they exceed a limit.
func (s *store) grow(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total > 0 && n > int64(s.total)-s.used {
		return fmt.Errorf("%w: %s of %v used", errFull, bytes(s.used), &s.total)
	}
	if s.measureLocked(n); n > s.left {
		return fmt.Errorf("%w: %s left", errNoDisk, bytes(max(s.left, 0)))
	}
	s.used += n
	s.left -= n
	return nil
}

// shrink subtracts removed bytes from the count.
func (s *store) shrink(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = max(s.used-n, 0)
}

// measureLocked measures the free space if the last result is too old or less than n bytes.
func (s *store) measureLocked(n int64) {
	if s.free == 0 {
		s.left = math.MaxInt64
		return
	}
	if now := time.Now(); now.Sub(s.measured) >= measureTime || n > s.left {
		s.measured, s.left = now, freeSpace(s.dir.Name())-int64(s.free)
	}
}

// close closes the file of a part. It keeps the file if a sender can resume from it, unless remove is set.
func (s *store) close(p *part, remove bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, p)
	info, err := p.file.Stat()
	_ = p.file.Close()
	p.file = nil
	if err == nil && !remove && info.Size() >= step {
		s.hashes.rememberPart(p, info)
		return
	}
	s.removeLocked(p)
}

// removeLocked removes the file of a part, which must be closed.
func (s *store) removeLocked(p *part) {
	info, err := s.dir.Lstat(p.Name + suffix)
	if err != nil || s.dir.Remove(p.Name+suffix) != nil {
		return
	}
	s.hashes.forget(p.Name + suffix)
	delete(s.unfinished, key(p.Name))
	s.count = max(s.count-1, 0)
	s.used = max(s.used-info.Size(), 0)
}

// publish gives a complete part its final name. Unlike a rename, a link never replaces a file that another program has created in the
// meantime.
func (s *store) publish(p *part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, p)
	err := p.file.Close() // Windows cannot rename an open file
	p.file = nil
	if err != nil {
		return err
	}
	switch err := s.dir.Link(p.Name+suffix, p.Name); {
	case err == nil:
		if err := s.dir.Remove(p.Name + suffix); err != nil {
			return err
		}
	case errors.Is(err, os.ErrExist):
		s.removeLocked(p)
		return errExists
	default: // a file system without links
		if err := s.dir.Rename(p.Name+suffix, p.Name); err != nil {
			return err
		}
	}
	delete(s.unfinished, key(p.Name))
	s.hashes.forget(p.Name + suffix)
	if info, err := s.dir.Lstat(p.Name); err == nil {
		s.hashes.remember(p.Name, known{info: info, sum: p.SHA256})
	}
	return nil
}
