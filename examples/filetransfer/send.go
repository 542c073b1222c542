package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const (
	firstWait     = 500 * time.Millisecond // delay before the first retry; it doubles with each failure without progress
	lastWait      = 30 * time.Second
	dialTime      = 10 * time.Second
	progressEvery = 200 * time.Millisecond
)

// senderLimits says when a sender gives up.
type senderLimits struct {
	idle    time.Duration // without data from the receiver
	wait    time.Duration // while the receiver works on its disk without progress
	retries int           // consecutive failures
}

// sender sends one file. Its fields belong to the loop.
type sender struct {
	*source
	senderLimits
	address string

	ctx      context.Context
	end      context.CancelFunc
	finished bool
	err      error // why the file was not sent
	bar      *progress
	reached  bool         // a receiver has replied at least once
	failures int          // consecutive
	best     int64        // the largest offset that a connection resumed at
	begun    bool         // this connection has begun to send the file
	sent     int64        // bytes of the file sent, from its beginning
	diskWait *evnet.Timer // runs while the receiver works on its disk without progress
}

// send sends the file and returns when the receiver has it, or when the sender gives up.
func send(ctx context.Context, address, path string, l senderLimits) error {
	began := time.Now()
	var hashing *progress
	file, err := readSource(ctx, path, func(done, size int64) {
		if hashing == nil {
			hashing = newProgress("reading "+path, size, true)
		}
		hashing.at(done)
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	s := &sender{source: file, address: address, senderLimits: l, ctx: ctx, end: end}
	s.bar = newProgress("sending "+s.name, s.size(), true)
	s.attempt()
	_ = evnet.DefaultLoop.Serve(ctx) // until finish or a signal
	s.bar.clear()
	switch {
	case !s.finished:
		return fmt.Errorf("interrupted at %s of %s: run the same command to resume", bytes(s.sent), bytes(s.size()))
	case s.err != nil:
		return s.err
	}
	took := time.Since(began).Round(time.Millisecond)
	printable.Printf("sent %q: %s in %v, SHA-256 %s\n", s.name, bytes(s.size()), took, s.sum(s.size()))
	if err := s.changed(); err != nil {
		log.Printf("warning: %v; the receiver has the original content", err)
	}
	return nil
}

// finish ends the transfer.
func (s *sender) finish(err error) {
	if !s.finished {
		s.finished, s.err = true, err
		s.end()
	}
}

// attempt makes a connection and transfers until it closes.
func (s *sender) attempt() {
	if err := s.changed(); err != nil {
		s.finish(err)
		return
	}
	s.begun = false
	c := evnet.NewSocket(nil)
	dialTimer := evnet.DefaultLoop.AfterFunc(dialTime, func() { c.Destroy(fmt.Errorf("%s: no connection within %v", s.address, dialTime)) })
	c.On.Connect(func() {
		dialTimer.Stop()
		_ = c.SetTimeout(s.idle)
		writeLine(c, header{version, s.name, s.size(), s.sum(s.size())})
	})
	c.On.Timeout(func() { c.Destroy(fmt.Errorf("%s: no data received for %v", s.address, s.idle)) })
	_ = c.Scan(bufio.ScanLines, maxLine, func(line []byte) { s.reply(c, line) })
	c.On.End(func() { c.Destroy(errors.New("connection closed by the receiver")) }) // before the final reply
	var cause error
	c.On.Error(func(err error) { cause = err })
	c.On.Close(func(bool) {
		dialTimer.Stop()
		s.progressed()
		s.retry(cause)
	})
	c.Connect("tcp", s.address)
}

// retry schedules the next attempt, or gives up after too many failures.
func (s *sender) retry(err error) {
	if s.finished || s.ctx.Err() != nil {
		return
	}
	s.failures++
	switch {
	case !s.reached:
		s.finish(err) // the address is probably wrong
		return
	case s.failures > s.retries:
		s.finish(fmt.Errorf("giving up after %d consecutive failures: %w", s.failures, err))
		return
	}
	wait := min(firstWait<<min(s.failures-1, 10), lastWait)
	s.bar.clear()
	log.Printf("%v; retrying in %v", err, wait)
	evnet.DefaultLoop.AfterFunc(wait, s.attempt)
}

// reply processes a line of the receiver.
func (s *sender) reply(c *evnet.Socket, line []byte) {
	if s.finished {
		return
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		s.finish(fmt.Errorf("%s does not speak this protocol: invalid reply %.60q", s.address, line))
		return
	}
	s.reached = true
	if !r.Wait {
		s.progressed()
	}
	switch {
	case r.Wait:
		s.waitForDisk(c)
	case r.Error != "" && r.Retry:
		c.Destroy(receiverError(r.Error))
	case r.Error != "":
		if err := s.changed(); err != nil { // the change explains the error
			s.finish(err)
			return
		}
		s.finish(receiverError(r.Error))
	case r.Done && r.SHA256 == s.sum(s.size()):
		s.finish(nil)
	case r.Done:
		s.finish(fmt.Errorf("SHA-256 mismatch: the receiver has %.80s, want %s", r.SHA256, s.sum(s.size())))
	case !s.begun:
		s.begun = true
		s.begin(c, r)
	}
}

// receiverError returns an error that the receiver reported, marked as such.
func receiverError(text string) error { return fmt.Errorf("receiver: %s", text) }

// waitForDisk starts the timer for the receiver's work on its disk.
func (s *sender) waitForDisk(c *evnet.Socket) {
	if s.diskWait == nil && s.wait > 0 {
		s.diskWait = evnet.DefaultLoop.AfterFunc(s.wait, func() {
			c.Destroy(fmt.Errorf("%s: no progress on the receiver's disk for %v", s.address, s.wait))
		})
	}
}

// progressed stops the timer, because the receiver made progress.
func (s *sender) progressed() {
	if s.diskWait != nil {
		s.diskWait.Stop()
		s.diskWait = nil
	}
}

// begin starts sending the file at the receiver's offset, if the hash of that part matches.
func (s *sender) begin(c *evnet.Socket, offer reply) {
	from := int64(0)
	if offer.Have > 0 && offer.SHA256 == s.sum(offer.Have) {
		from = offer.Have
	}
	s.bar.clear()
	switch {
	case from > 0:
		log.Printf("resuming at %s of %s", bytes(from), bytes(s.size()))
	case offer.Have > 0:
		log.Printf("the receiver has %s of a different file with this name: restarting from zero", bytes(offer.Have))
	}
	if from > s.best {
		s.best, s.failures = from, 0
	}
	writeLine(c, start{&from})
	before := c.BytesWritten()
	report := func() {
		sent := from + c.BytesWritten() - before - int64(c.BufferedAmount())
		if sent > s.sent {
			s.progressed()
		}
		s.sent = sent
		s.bar.at(s.sent)
	}
	var tick *evnet.Timer
	tick = evnet.DefaultLoop.AfterFunc(progressEvery, func() {
		report()
		tick.Reset(progressEvery)
	})
	c.On.Close(func(bool) {
		tick.Stop()
		report()
	})
	go func() { // the disk and the peer may block, which the loop must not do
		err := s.body(c, from)
		evnet.DefaultLoop.Post(func() {
			if err != nil && !c.Destroyed() { // otherwise Close handles the lost connection
				s.finish(err)
			}
		})
	}()
}

// body sends the bytes of the file from an offset to the end. On Linux they do not pass through user space.
func (s *sender) body(c *evnet.Socket, from int64) error {
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if err := s.changed(); err != nil { // the opened file must still be the one that was hashed
		return err
	}
	n, err := c.ReadFrom(io.LimitReader(file, s.size()-from))
	if err == nil && from+n < s.size() {
		err = fmt.Errorf("%s was truncated to %d bytes during the transfer", s.path, from+n)
	}
	return err
}
