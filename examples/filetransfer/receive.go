package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const (
	spare      = 50               // connections beyond the limits, to be told of them
	headerTime = 10 * time.Second // for a header to come, and then for the answer to the offer
	paceTime   = time.Minute      // over which the speed of a sender is measured
	sweepTime  = time.Hour        // between two looks for files that are too old
	beat       = 5 * time.Second  // how often a sender that waits for the disk is told so
)

var errBroken = errors.New("the connection broke")

// receiver takes files into a directory. Its fields belong to the loop, but for the store.
type receiver struct {
	*store
	senderCount int
	addresses   map[netip.Prefix]int // how many connections each has
	disk        sync.WaitGroup       // goroutines that work on the disk
}

// receive returns when ctx has ended.
func receive(ctx context.Context, address, dir string, l limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &receiver{store: newStore(ctx, root, l), addresses: map[netip.Prefix]int{}}
	if err := r.sweep(); err != nil {
		return err
	}
	options := &evnet.ServerOptions{CloseTimeout: 10 * time.Second}
	if l.senders > 0 {
		options.MaxConnections = l.senders + spare
	}
	server := evnet.NewServer(options)
	server.On.Connection(r.accept)
	server.On.Error(func(err error) { log.Println(err) }) // no descriptors left, for example: it goes on
	err = server.Listen("tcp", address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	r.sweepLater()
	_ = evnet.DefaultLoop.Serve(ctx)
	stop()
	r.disk.Wait()
	fmt.Println("closed")
	return nil
}

// sweepLater removes files that have become too old, from time to time.
func (r *receiver) sweepLater() {
	evnet.DefaultLoop.AfterFunc(sweepTime, func() {
		r.disk.Go(func() {
			if err := r.sweep(); err != nil {
				log.Println(err)
			}
		})
		r.sweepLater()
	}).Unref()
}

// transfer is one connection of a sender.
type transfer struct {
	*receiver
	header
	c     *evnet.Socket
	from  netip.Prefix
	alive context.Context // ends with the connection
	begin chan string     // the sender's answer to the offer
	waits atomic.Bool     // for the disk, and not for the sender
	got   atomic.Int64    // bytes of the file
	heart *evnet.Timer
	paced *evnet.Timer
}

func (r *receiver) accept(c *evnet.Socket) {
	alive, over := context.WithCancel(context.Background())
	t := &transfer{receiver: r, c: c, from: addressOf(c.RemoteAddr()), alive: alive, begin: make(chan string, 1)}
	full := r.enter(t)
	slow := c.Loop().AfterFunc(headerTime, func() { t.refuse(fmt.Errorf("no header within %v", headerTime)) })
	_ = c.SetTimeout(r.idle)
	c.On.Timeout(func() {
		if t.waits.Load() {
			_ = c.SetTimeout(r.idle) // anew
			return
		}
		c.Destroy(fmt.Errorf("%v has been silent for %v", c.RemoteAddr(), r.idle))
	})
	_ = c.Scan(bufio.ScanLines, maxLine, func(line []byte) {
		slow.Stop()
		if t.Name == "" {
			t.first(line)
		} else {
			t.second(line)
		}
	})
	c.On.Error(func(err error) { log.Println(err) })
	c.On.Close(func(bool) {
		slow.Stop()
		for _, timer := range []*evnet.Timer{t.heart, t.paced} {
			if timer != nil {
				timer.Stop()
			}
		}
		over()
	})
	if full != nil {
		slow.Stop()
		t.refuse(full)
	}
}

// enter counts a connection, and returns why it is one too many. Some more than the limits are told so; still more of one
// address are closed without a word, so that it cannot keep others from being told.
func (r *receiver) enter(t *transfer) (full error) {
	counts := 1
	r.addresses[t.from]++
	of := r.addresses[t.from]
	switch {
	case r.perAddress > 0 && t.from.IsValid() && of > r.perAddress:
		full, counts = tryLater("the receiver takes %d senders of one address at once", r.perAddress), 0
		if of > 2*r.perAddress {
			t.c.Reset()
		}
	case r.senders > 0 && r.senderCount >= r.senders:
		full, counts = tryLater("the receiver takes %d senders at once", r.senders), 0
	}
	r.senderCount += counts
	t.c.On.Close(func(bool) {
		r.senderCount -= counts
		if r.addresses[t.from]--; r.addresses[t.from] == 0 {
			delete(r.addresses, t.from)
		}
	})
	return full
}

// first takes the header.
func (t *transfer) first(line []byte) {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		t.refuse(errors.New("that is no header of this protocol"))
		return
	}
	if err := h.check(&t.limits); err != nil {
		t.refuse(err)
		return
	}
	if !t.claim(h.Name) {
		t.refuse(errBusy)
		return
	}
	t.header = h
	t.c.Pause() // the next line answers the offer
	t.waits.Store(true)
	t.heart = t.c.Loop().AfterFunc(beat, t.beat)
	t.disk.Go(func() {
		err := t.work()
		t.release(h.Name)
		t.c.Loop().Post(func() {
			switch {
			case err == nil:
				t.done()
			case errors.Is(err, errBroken) || errors.Is(err, context.Canceled): // while it was being read
				log.Printf("%v: %q: the connection broke: every whole megabyte is kept, to go on from there", t.c.RemoteAddr(), h.Name)
			default:
				t.refuse(err)
			}
		})
	})
}

// second takes what the sender answers to the offer. The rest is the file.
func (t *transfer) second(line []byte) {
	_ = t.c.Scan(nil, 0, nil)
	t.begin <- string(line)
}

// work is all that is done on the disk, on a goroutine of its own: the loop goes on meanwhile.
func (t *transfer) work() error {
	p, whole, err := openPart(t.alive, t.store, t.header, t.from)
	if err != nil {
		return err
	}
	if whole {
		printable.Printf("%q is there already\n", t.Name)
		return nil
	}
	defer p.close()
	t.waits.Store(false)
	say(t.c, reply{Have: p.have, SHA256: p.sum()})
	t.c.Resume()
	select {
	case line := <-t.begin:
		var s start
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.From == nil {
			return errors.New("that is no start of a file")
		}
		if err := p.begin(*s.From); err != nil {
			return err
		}
	case <-t.alive.Done():
		return errBroken
	case <-time.After(headerTime):
		return fmt.Errorf("no start of the file within %v", headerTime)
	}
	printable.Printf("receiving %q (%s) from %v, from %s on\n", t.Name, bytes(t.Size), t.c.RemoteAddr(), bytes(p.have))
	if err := t.copy(p); err != nil {
		return err
	}
	t.waits.Store(true)
	if err := p.finish(); err != nil {
		return err
	}
	printable.Printf("received %q: %s, SHA-256 %s\n", t.Name, bytes(t.Size), p.sum())
	return nil
}

// copy writes what comes. While it waits for the disk the socket reads nothing, and so the sender waits too.
func (t *transfer) copy(p *part) error {
	if p.have == t.Size {
		return nil
	}
	lines := newProgress(fmt.Sprintf("receiving %q", t.Name), t.Size, false)
	t.c.Loop().Post(func() { t.pace(0) })
	for chunk, err := range t.c.Chunks() {
		if err != nil {
			break
		}
		t.waits.Store(true)
		_, err = p.Write(chunk)
		t.waits.Store(false)
		if err != nil {
			return err
		}
		t.got.Add(int64(len(chunk)))
		lines.at(p.have)
		if p.have == t.Size {
			return nil
		}
	}
	return errBroken
}

// pace cuts a sender off that sends less than it has to, a byte now and then for example. It runs on the loop.
func (t *transfer) pace(before int64) {
	if t.slowest == 0 || t.alive.Err() != nil {
		return
	}
	t.paced = t.c.Loop().AfterFunc(paceTime, func() {
		got := t.got.Load()
		if got-before < int64(t.slowest)*int64(paceTime/time.Second) && !t.waits.Load() {
			t.c.Destroy(fmt.Errorf("%v has sent %s within %v", t.c.RemoteAddr(), bytes(got-before), paceTime))
			return
		}
		t.pace(got)
	})
}

// beat tells a sender that waits for the disk that somebody is there. It runs on the loop.
func (t *transfer) beat() {
	if t.waits.Load() {
		say(t.c, reply{Wait: true})
	}
	t.heart = t.c.Loop().AfterFunc(beat, t.beat)
}

// done is the last word to a sender: its hash is that of what stands on the disk.
func (t *transfer) done() {
	say(t.c, reply{Done: true, SHA256: t.SHA256})
	t.c.End()
	t.c.Resume()
}

// refuse tells the sender why not, if it is there.
func (t *transfer) refuse(err error) {
	if t.Name != "" {
		log.Printf("%v: %q: %v", t.c.RemoteAddr(), t.Name, err)
	} else {
		log.Printf("%v: %v", t.c.RemoteAddr(), err)
	}
	var passes later
	say(t.c, reply{Error: err.Error(), Retry: errors.As(err, &passes)})
	_ = t.c.Scan(nil, 0, nil)
	t.c.End()
	t.c.Resume() // what still comes is thrown away, for the sender may read why only after the last byte
}
