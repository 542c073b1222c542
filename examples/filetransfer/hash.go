package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

// source is a file to send, as it was when it was hashed.
type source struct {
	path string
	name string
	info os.FileInfo
	sums [][sha256.Size]byte // of the first 0, 1, 2, … steps; the last one is for the whole file
}

// readSource hashes a file. It keeps the digest of every prefix that a receiver may have, 32 bytes for each step, so resuming does not
// require reading the file again. It calls report after each step.
func readSource(ctx context.Context, path string, report func(done, size int64)) (*source, error) {
	info, err := os.Stat(path) // before Open, which would block on a named pipe
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: pack it into one file first", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	s := &source{path: path, name: info.Name()}
	if err := checkName(s.name); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if s.info, err = file.Stat(); err != nil {
		return nil, err
	}
	digest := sha256.New()
	s.sums = append(s.sums, [sha256.Size]byte(digest.Sum(nil)))
	for at := int64(0); at < s.size(); {
		n, err := hashSome(ctx, digest, file, min(step, s.size()-at))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		at += n
		s.sums = append(s.sums, [sha256.Size]byte(digest.Sum(nil)))
		report(at, s.size())
	}
	if err := s.changed(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *source) size() int64 { return s.info.Size() }

// sum returns the digest of the first n bytes, or "" if no transfer resumes at n.
func (s *source) sum(n int64) string {
	if n < 0 || n > s.size() || n%step != 0 && n != s.size() {
		return ""
	}
	return hex.EncodeToString(s.sums[(n+step-1)/step][:])
}

// changed returns an error if the file has changed since it was hashed.
func (s *source) changed() error {
	now, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if !os.SameFile(s.info, now) || now.Size() != s.size() || !now.ModTime().Equal(s.info.ModTime()) {
		return fmt.Errorf("%s changed during the transfer: send it again when no program writes to it", s.path)
	}
	return nil
}

// hashSome adds n bytes to a digest, unless ctx ends before.
func hashSome(ctx context.Context, digest hash.Hash, from io.Reader, n int64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	copied, err := io.CopyN(digest, from, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return copied, err
}
