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

// measureTime is how long a count of the directory, or of the free space, is relied on. In between the store counts what
// it writes itself.
const measureTime = time.Second

var (
	errExists = errors.New("the receiver has another file of this name")
	errBusy   = later{errors.New("another sender is sending a file of this name")}
	errFull   = errors.New("the receiver's directory has no room for this file")
	errNoDisk = errors.New("the receiver's disk has no room for this file")
)

// store is the directory that files are received into, and what senders have used of its limits. All of its methods but
// claim and release wait for the disk, and so are for a goroutine.
type store struct {
	limits
	dir     *os.Root        // no name and no symbolic link leads out of it
	ctx     context.Context // ends with the receiver
	hashing chan struct{}   // holds one value while a file is hashed: one at a time

	claims  sync.Mutex
	claimed map[string]bool // keys of the names that are being received, or removed

	mu         sync.Mutex
	counted    time.Time
	used       int64                   // bytes of all files in the directory
	count      int                     // of these files
	unfinished map[string]netip.Prefix // by key: who sent it, if that was since the receiver started
	open       map[*part]os.FileInfo   // unfinished files that are being written
	measured   time.Time
	left       int64 // of the disk, beyond what stays free
	hashes     hashes
}

func newStore(ctx context.Context, dir *os.Root, l limits) *store {
	return &store{
		limits: l, dir: dir, ctx: ctx, hashing: make(chan struct{}, 1), claimed: map[string]bool{},
		unfinished: map[string]netip.Prefix{}, open: map[*part]os.FileInfo{}, hashes: newHashes(int64(l.hash)),
	}
}

// claim reserves a name, unless it is reserved already.
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

// sweep removes unfinished files that are too old, or that have nothing to go on from.
func (s *store) sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.countLocked()
}

// countLocked counts what is in the directory. Unfinished files that nobody will go on with are removed.
func (s *store) countLocked() error {
	dir, err := s.dir.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	found := map[string]netip.Prefix{}
	s.used, s.count, s.counted = 0, 0, time.Now()
	for s.files == 0 || s.count <= s.files { // a directory that is too full is not read to its end
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

// removeStaleLocked removes an unfinished file if nobody is sending it and it is of no use.
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
	log.Printf("removed %q, unfinished, with %s", name+suffix, bytes(info.Size()))
	return true
}

// admit is why a file of which the receiver has that many bytes cannot be received, or nil.
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
		return fmt.Errorf("%w: %s of %v are used", errFull, bytes(s.used), &s.total)
	}
	s.measureLocked(0)
	if h.Size-have > s.left {
		return fmt.Errorf("%w: %s are left of it", errNoDisk, bytes(max(s.left, 0)))
	}
	return nil
}

// admitNewLocked is why one file more cannot be begun.
func (s *store) admitNewLocked(from netip.Prefix) error {
	owned := 0
	for _, owner := range s.unfinished {
		if owner == from && from.IsValid() {
			owned++
		}
	}
	switch {
	case s.files > 0 && s.count >= s.files:
		return tryLater("the receiver's directory has %d files, and takes no more", s.files)
	case s.parts > 0 && len(s.unfinished) >= s.parts:
		return tryLater("the receiver has %d unfinished files, and begins no more", s.parts)
	case s.perAddress > 0 && owned >= s.perAddress:
		return tryLater("the receiver has %d unfinished files of this address, and begins no more", s.perAddress)
	}
	return nil
}

// create makes the file of a part.
func (s *store) create(p *part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admitNewLocked(p.from); err != nil { // others may have begun since admit
		return err
	}
	file, err := s.dir.OpenFile(p.Name+suffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return errBusy // by another name that the file system takes for this one
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

// reopen opens the file of a part that exists, and fails if that file is being written under another name.
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
	if _, known := s.unfinished[key(p.Name)]; !known { // it has come since the directory was counted
		s.unfinished[key(p.Name)] = netip.Prefix{}
	}
	return info, nil
}

// grow counts bytes that are about to be written, or fails if they may not be.
func (s *store) grow(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total > 0 && n > int64(s.total)-s.used {
		return fmt.Errorf("%w: %s of %v are used", errFull, bytes(s.used), &s.total)
	}
	if s.measureLocked(n); n > s.left {
		return fmt.Errorf("%w: %s are left of it", errNoDisk, bytes(max(s.left, 0)))
	}
	s.used += n
	s.left -= n
	return nil
}

// shrink takes bytes that are not there any more from the count.
func (s *store) shrink(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = max(s.used-n, 0)
}

// measureLocked measures the free space, if that was long ago or n bytes are more than there was.
func (s *store) measureLocked(n int64) {
	if s.free == 0 {
		s.left = math.MaxInt64
		return
	}
	if now := time.Now(); now.Sub(s.measured) >= measureTime || n > s.left {
		s.measured, s.left = now, freeSpace(s.dir.Name())-int64(s.free)
	}
}

// close ends the writing of a part. The file stays if a sender can go on from some of it, unless it is to be removed.
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

// removeLocked removes the file of a part, which is closed.
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

// publish gives a part that is whole its name. A link, unlike a rename, never takes the place of what somebody else has put
// there meanwhile.
func (s *store) publish(p *part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, p)
	err := p.file.Close() // Windows renames no open file
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
