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
	extraConnections = 50               // connections beyond the limits, accepted to reply with an error
	headerTime       = 10 * time.Second // for the header, and then for the start message
	paceTime         = time.Minute      // period for measuring the speed of a sender
	sweepTime        = time.Hour        // interval between removals of stale files
	heartbeatEvery   = 5 * time.Second  // interval of wait messages while the disk is busy
)

var errBroken = errors.New("connection lost")

// receiver receives files into a directory. Its fields belong to the loop, except the store.
type receiver struct {
	*store
	senderCount int
	addresses   map[netip.Prefix]int // number of connections of each address
	disk        sync.WaitGroup       // goroutines that work on the disk
}

// receive runs a receiver until ctx ends.
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
		options.MaxConnections = l.senders + extraConnections
	}
	server := evnet.NewServer(options)
	server.On.Connection(r.accept)
	server.On.Error(func(err error) { log.Println(err) }) // no free file descriptor, for example: the server continues
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

// sweepLater removes stale files periodically.
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
	c              *evnet.Socket
	from           netip.Prefix
	connCtx        context.Context // ends with the connection
	begin          chan string     // the start message of the sender
	diskBusy       atomic.Bool     // the receiver works on the disk and does not wait for the sender
	received       atomic.Int64    // bytes of the file
	heartbeatTimer *evnet.Timer
	paceTimer      *evnet.Timer
}

func (r *receiver) accept(c *evnet.Socket) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &transfer{receiver: r, c: c, from: addressOf(c.RemoteAddr()), connCtx: ctx, begin: make(chan string, 1)}
	full := r.countConnection(t)
	headerTimer := c.Loop().AfterFunc(headerTime, func() { t.refuse(fmt.Errorf("no header within %v", headerTime)) })
	_ = c.SetTimeout(r.idle)
	c.On.Timeout(func() {
		if t.diskBusy.Load() {
			_ = c.SetTimeout(r.idle) // restart
			return
		}
		c.Destroy(fmt.Errorf("%v: no data received for %v", c.RemoteAddr(), r.idle))
	})
	_ = c.Scan(bufio.ScanLines, maxLine, func(line []byte) {
		headerTimer.Stop()
		if t.Name == "" {
			t.readHeader(line)
		} else {
			t.readStart(line)
		}
	})
	c.On.Error(func(err error) { log.Println(err) })
	c.On.Close(func(bool) {
		headerTimer.Stop()
		for _, timer := range []*evnet.Timer{t.heartbeatTimer, t.paceTimer} {
			if timer != nil {
				timer.Stop()
			}
		}
		cancel()
	})
	if full != nil {
		headerTimer.Stop()
		t.refuse(full)
	}
}

// countConnection counts a connection and returns an error if a limit is exceeded. The sender receives the error. If one address
// has even more connections, they are reset without a reply, so that they do not use up the replies for other addresses.
func (r *receiver) countConnection(t *transfer) (full error) {
	counts := 1
	r.addresses[t.from]++
	sameAddress := r.addresses[t.from]
	switch {
	case r.perAddress > 0 && t.from.IsValid() && sameAddress > r.perAddress:
		full, counts = tryLater("too many senders from this address: the limit is %d", r.perAddress), 0
		if sameAddress > 2*r.perAddress {
			t.c.Reset()
		}
	case r.senders > 0 && r.senderCount >= r.senders:
		full, counts = tryLater("too many senders: the limit is %d", r.senders), 0
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

// readHeader processes the header.
func (t *transfer) readHeader(line []byte) {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		t.refuse(errors.New("invalid header"))
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
	t.c.Pause() // the next line is the reply to the offer
	t.diskBusy.Store(true)
	t.heartbeatTimer = t.c.Loop().AfterFunc(heartbeatEvery, t.heartbeat)
	t.disk.Go(func() {
		err := t.work()
		t.release(h.Name)
		t.c.Loop().Post(func() {
			switch {
			case err == nil:
				t.done()
			case errors.Is(err, errBroken) || errors.Is(err, context.Canceled): // canceled while a file was being read
				log.Printf("%v: %q: connection lost: every complete megabyte is kept for resuming", t.c.RemoteAddr(), h.Name)
			default:
				t.refuse(err)
			}
		})
	})
}

// readStart passes on the reply of the sender to the offer. The remaining data is the file.
func (t *transfer) readStart(line []byte) {
	_ = t.c.Scan(nil, 0, nil)
	t.begin <- string(line)
}

// work does everything that uses the disk. It runs on a separate goroutine, so the loop does not block.
func (t *transfer) work() error {
	p, whole, err := openPart(t.connCtx, t.store, t.header, t.from)
	if err != nil {
		return err
	}
	if whole {
		printable.Printf("%q already exists\n", t.Name)
		return nil
	}
	defer p.close()
	t.diskBusy.Store(false)
	writeLine(t.c, reply{Have: p.have, SHA256: p.sum()})
	t.c.Resume()
	select {
	case line := <-t.begin:
		var s start
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.From == nil {
			return errors.New("invalid start message")
		}
		if err := p.begin(*s.From); err != nil {
			return err
		}
	case <-t.connCtx.Done():
		return errBroken
	case <-time.After(headerTime):
		return fmt.Errorf("no start message within %v", headerTime)
	}
	printable.Printf("receiving %q (%s) from %v, starting at %s\n", t.Name, bytes(t.Size), t.c.RemoteAddr(), bytes(p.have))
	if err := t.copy(p); err != nil {
		return err
	}
	t.diskBusy.Store(true)
	if err := p.finish(); err != nil {
		return err
	}
	printable.Printf("received %q: %s, SHA-256 %s\n", t.Name, bytes(t.Size), p.sum())
	return nil
}

// copy writes received data to the part. While it waits for the disk, the socket is not read, so the sender waits too.
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
		t.diskBusy.Store(true)
		_, err = p.Write(chunk)
		t.diskBusy.Store(false)
		if err != nil {
			return err
		}
		t.received.Add(int64(len(chunk)))
		lines.at(p.have)
		if p.have == t.Size {
			return nil
		}
	}
	return errBroken
}

// pace disconnects a sender that is slower than the limit. It runs on the loop.
func (t *transfer) pace(before int64) {
	if t.slowest == 0 || t.connCtx.Err() != nil {
		return
	}
	t.paceTimer = t.c.Loop().AfterFunc(paceTime, func() {
		got := t.received.Load()
		if got-before < int64(t.slowest)*int64(paceTime/time.Second) && !t.diskBusy.Load() {
			t.c.Destroy(fmt.Errorf("%v: sent only %s within %v", t.c.RemoteAddr(), bytes(got-before), paceTime))
			return
		}
		t.pace(got)
	})
}

// heartbeat sends a wait message while the disk is busy. It runs on the loop.
func (t *transfer) heartbeat() {
	if t.diskBusy.Load() {
		writeLine(t.c, reply{Wait: true})
	}
	t.heartbeatTimer = t.c.Loop().AfterFunc(heartbeatEvery, t.heartbeat)
}

// done sends the final reply with the hash of the file on the disk.
func (t *transfer) done() {
	writeLine(t.c, reply{Done: true, SHA256: t.SHA256})
	t.c.End()
	t.c.Resume()
}

// refuse sends an error to the sender and ends the connection.
func (t *transfer) refuse(err error) {
	if t.Name != "" {
		log.Printf("%v: %q: %v", t.c.RemoteAddr(), t.Name, err)
	} else {
		log.Printf("%v: %v", t.c.RemoteAddr(), err)
	}
	var temporary temporaryError
	writeLine(t.c, reply{Error: err.Error(), Retry: errors.As(err, &temporary)})
	_ = t.c.Scan(nil, 0, nil)
	t.c.End()
	t.c.Resume() // discards further input: the sender may read the error only after it has sent everything
}
