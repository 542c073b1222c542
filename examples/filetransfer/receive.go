package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const (
	maxSenders = 100
	headerTime = 10 * time.Second // for a header to come
	beat       = 5 * time.Second  // how often a sender that waits for the disk is told so
)

var (
	errBusy   = errors.New("another sender is sending a file of this name")
	errBroken = errors.New("the connection broke")
)

// receiver takes files into a directory. Its fields belong to the loop.
type receiver struct {
	dir  *os.Root
	idle time.Duration
	busy map[string]bool // names that somebody is sending
	disk sync.WaitGroup  // goroutines that work on the disk
}

// receive returns when ctx has ended.
func receive(ctx context.Context, address, dir string, idle time.Duration) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := &receiver{dir: root, idle: idle, busy: map[string]bool{}}
	server := evnet.NewServer(&evnet.ServerOptions{MaxConnections: maxSenders, CloseTimeout: 10 * time.Second})
	server.On.Connection(r.accept)
	err = server.Listen("tcp", address, func() { printable.Println("listening on", server.Address()) })
	if err != nil {
		return err
	}
	_ = evnet.DefaultLoop.Serve(ctx)
	r.disk.Wait()
	fmt.Println("closed")
	return nil
}

// transfer is one connection of a sender.
type transfer struct {
	*receiver
	header
	c     *evnet.Socket
	alive context.Context // ends with the connection
	begin chan string     // the sender's answer to the offer
	waits atomic.Bool     // for the disk, and not for the sender
	heart *evnet.Timer
}

func (r *receiver) accept(c *evnet.Socket) {
	alive, over := context.WithCancel(context.Background())
	t := &transfer{receiver: r, c: c, alive: alive, begin: make(chan string, 1)}
	slow := c.Loop().AfterFunc(headerTime, func() { t.refuse(fmt.Errorf("no header within %v", headerTime), false) })
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
		if t.heart != nil {
			t.heart.Stop()
		}
		over()
	})
}

// first takes the header.
func (t *transfer) first(line []byte) {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		t.refuse(errors.New("that is no header of this protocol"), false)
		return
	}
	if err := h.check(); err != nil {
		t.refuse(err, false)
		return
	}
	if t.busy[h.Name] {
		t.refuse(errBusy, true)
		return
	}
	t.header = h
	t.busy[h.Name] = true
	t.c.Pause() // the next line answers the offer
	t.waits.Store(true)
	t.heart = t.c.Loop().AfterFunc(beat, t.beat)
	t.disk.Go(func() {
		err := t.work()
		t.c.Loop().Post(func() {
			delete(t.busy, h.Name)
			switch {
			case err == nil:
				t.done()
			case errors.Is(err, errBroken) || errors.Is(err, context.Canceled): // while it was being read
				log.Printf("%v: %q: the connection broke: what came is kept, to go on from there", t.c.RemoteAddr(), h.Name)
			default:
				t.refuse(err, false)
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
	p, whole, err := openPart(t.alive, t.dir, t.header)
	if err != nil {
		return err
	}
	if whole {
		printable.Printf("%q is there already\n", t.Name)
		return nil
	}
	defer p.file.Close()
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
	lines := newProgress("receiving "+t.Name, t.Size, false)
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
		lines.at(p.have)
		if p.have == t.Size {
			return nil
		}
	}
	return errBroken
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
func (t *transfer) refuse(err error, retry bool) {
	if t.Name != "" {
		log.Printf("%v: %q: %v", t.c.RemoteAddr(), t.Name, err)
	} else {
		log.Printf("%v: %v", t.c.RemoteAddr(), err)
	}
	say(t.c, reply{Error: err.Error(), Retry: retry})
	_ = t.c.Scan(nil, 0, nil)
	t.c.End()
	t.c.Resume() // what still comes is thrown away, for the sender may read why only after the last byte
}
