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
	firstWait = 500 * time.Millisecond // before trying again, doubled each time that nothing has come over
	lastWait  = 30 * time.Second
	dialTime  = 10 * time.Second
	tellEvery = 200 * time.Millisecond
)

// patience is how long a sender goes on with a receiver.
type patience struct {
	idle, wait time.Duration // of silence, and of work on the disk without progress
	retries    int
}

// sender sends one file. Its fields belong to the loop.
type sender struct {
	*source
	patience
	address string

	ctx      context.Context
	end      context.CancelFunc
	over     bool
	err      error // why the file was not sent
	bar      *progress
	reached  bool         // a receiver has answered once
	failures int          // in a row
	best     int64        // what the receiver had at the most
	begun    bool         // this connection has begun with the file
	sent     int64        // what has left here, counted from the beginning of the file
	waiting  *evnet.Timer // while the receiver works on its disk, without progress
}

// send returns when the receiver has the file, or never will.
func send(ctx context.Context, address, path string, p patience) error {
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
	s := &sender{source: file, address: address, patience: p, ctx: ctx, end: end}
	s.bar = newProgress("sending "+s.name, s.size(), true)
	s.attempt()
	_ = evnet.DefaultLoop.Serve(ctx) // until finish, or a signal
	s.bar.clear()
	switch {
	case !s.over:
		return fmt.Errorf("interrupted at %s of %s: the same command goes on from there", bytes(s.sent), bytes(s.size()))
	case s.err != nil:
		return s.err
	}
	took := time.Since(began).Round(time.Millisecond)
	printable.Printf("sent %q: %s in %v, SHA-256 %s\n", s.name, bytes(s.size()), took, s.sum(s.size()))
	if err := s.changed(); err != nil {
		log.Println("but", err, "- the receiver has it as it was")
	}
	return nil
}

// finish ends it all.
func (s *sender) finish(err error) {
	if !s.over {
		s.over, s.err = true, err
		s.end()
	}
}

// attempt connects, and goes on until the connection breaks.
func (s *sender) attempt() {
	if err := s.changed(); err != nil {
		s.finish(err)
		return
	}
	s.begun = false
	c := evnet.NewSocket(nil)
	late := evnet.DefaultLoop.AfterFunc(dialTime, func() { c.Destroy(fmt.Errorf("%s has not answered within %v", s.address, dialTime)) })
	c.On.Connect(func() {
		late.Stop()
		_ = c.SetTimeout(s.idle)
		say(c, header{version, s.name, s.size(), s.sum(s.size())})
	})
	c.On.Timeout(func() { c.Destroy(fmt.Errorf("%s has been silent for %v", s.address, s.idle)) })
	_ = c.Scan(bufio.ScanLines, maxLine, func(line []byte) { s.reply(c, line) })
	c.On.End(func() { c.Destroy(errors.New("the receiver has closed the connection")) }) // before the last word
	var broken error
	c.On.Error(func(err error) { broken = err })
	c.On.Close(func(bool) {
		late.Stop()
		s.progressed()
		s.again(broken)
	})
	c.Connect("tcp", s.address)
}

// again tries once more, a little later, unless it has been tried too often.
func (s *sender) again(err error) {
	if s.over || s.ctx.Err() != nil {
		return
	}
	s.failures++
	switch {
	case !s.reached:
		s.finish(err) // a wrong address, most likely
		return
	case s.failures > s.retries:
		s.finish(fmt.Errorf("gave up after %d failures in a row: %w", s.failures, err))
		return
	}
	wait := min(firstWait<<min(s.failures-1, 10), lastWait)
	s.bar.clear()
	log.Printf("%v; trying again in %v", err, wait)
	evnet.DefaultLoop.AfterFunc(wait, s.attempt)
}

// reply takes a line of the receiver.
func (s *sender) reply(c *evnet.Socket, line []byte) {
	if s.over {
		return
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		s.finish(fmt.Errorf("%s does not speak this protocol: it says %.60q", s.address, line))
		return
	}
	s.reached = true
	if !r.Wait {
		s.progressed()
	}
	switch {
	case r.Wait:
		s.waits(c)
	case r.Error != "" && r.Retry:
		c.Destroy(says(r.Error))
	case r.Error != "":
		if err := s.changed(); err != nil { // which explains it
			s.finish(err)
			return
		}
		s.finish(says(r.Error))
	case r.Done && r.SHA256 == s.sum(s.size()):
		s.finish(nil)
	case r.Done:
		s.finish(fmt.Errorf("the receiver has a file with SHA-256 %.80s, not %s", r.SHA256, s.sum(s.size())))
	case !s.begun:
		s.begun = true
		s.begin(c, r)
	}
}

// says is an error of the receiver's, which must not look like one of this side.
func says(text string) error { return fmt.Errorf("the receiver says: %s", text) }

// waits gives the receiver some time to work on its disk.
func (s *sender) waits(c *evnet.Socket) {
	if s.waiting == nil && s.wait > 0 {
		s.waiting = evnet.DefaultLoop.AfterFunc(s.wait, func() {
			c.Destroy(fmt.Errorf("%s has worked on its disk for %v", s.address, s.wait))
		})
	}
}

// progressed says that the receiver does not wait for its disk, or not forever.
func (s *sender) progressed() {
	if s.waiting != nil {
		s.waiting.Stop()
		s.waiting = nil
	}
}

// begin sends the file from where the receiver has to go on.
func (s *sender) begin(c *evnet.Socket, offer reply) {
	from := int64(0)
	if offer.Have > 0 && offer.SHA256 == s.sum(offer.Have) {
		from = offer.Have
	}
	s.bar.clear()
	switch {
	case from > 0:
		log.Printf("going on at %s of %s", bytes(from), bytes(s.size()))
	case offer.Have > 0:
		log.Printf("the receiver has %s of another file of this name: starting anew", bytes(offer.Have))
	}
	if from > s.best {
		s.best, s.failures = from, 0
	}
	say(c, start{&from})
	before := c.BytesWritten()
	tell := func() {
		sent := from + c.BytesWritten() - before - int64(c.BufferedAmount())
		if sent > s.sent {
			s.progressed()
		}
		s.sent = sent
		s.bar.at(s.sent)
	}
	var tick *evnet.Timer
	tick = evnet.DefaultLoop.AfterFunc(tellEvery, func() {
		tell()
		tick.Reset(tellEvery)
	})
	c.On.Close(func(bool) {
		tick.Stop()
		tell()
	})
	go func() { // waiting for the disk, or for the peer, must not stop the loop
		err := s.body(c, from)
		evnet.DefaultLoop.Post(func() {
			if err != nil && !c.Destroyed() { // else the connection broke, which is told by its Close
				s.finish(err)
			}
		})
	}()
}

// body sends the bytes of the file from there on. On Linux they never enter the process.
func (s *sender) body(c *evnet.Socket, from int64) error {
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if err := s.changed(); err != nil { // since it was hashed, and it is the same file that was opened
		return err
	}
	n, err := c.ReadFrom(io.LimitReader(file, s.size()-from))
	if err == nil && from+n < s.size() {
		err = fmt.Errorf("%s has shrunk to %d bytes while it was being sent", s.path, from+n)
	}
	return err
}
