package evnet

import (
	"syscall"

	"evnet/internal/netpoll"
	"evnet/internal/ratelimit"
	"evnet/internal/seam"
)

// What the loop does for sockets that another package of this module makes, as dgram does. Users do not
// see it.

func init() {
	seam.Of = func(loop any) seam.Loop { return (*host)(loop.(*Loop)) }
}

// host is a loop as its guests see it.
type host Loop

// guest is a handle of another package.
type guest struct{ seam.Handle }

func (g guest) halt() { g.Halt() }

func (h *host) Add(g seam.Handle, referenced bool) bool { return (*Loop)(h).add(guest{g}, referenced) }
func (h *host) Remove(g seam.Handle)                    { (*Loop)(h).remove(guest{g}) }
func (h *host) SetRef(g seam.Handle, referenced bool)   { (*Loop)(h).setRef(guest{g}, referenced) }
func (h *host) Event(fn func())                         { (*Loop)(h).event(fn) }
func (h *host) Spawn(fn func())                         { (*Loop)(h).spawn(fn) }
func (h *host) Here() bool                              { return (*Loop)(h).here() }
func (h *host) Ticking() bool                           { return h.ticking.Load() }
func (h *host) Begin(g seam.Handle)                     { h.guest = g }
func (h *host) End()                                    { h.guest = nil }
func (h *host) Tracing() bool                           { return (*Loop)(h).tracing() }
func (h *host) Log() *ratelimit.Log                     { return &(*Loop)(h).log }

func (h *host) Count(more int) { (*Loop)(h).count(more) }
func (h *host) Full(buffered int) bool {
	l := (*Loop)(h)
	return l.isCrowded(3) && buffered > l.share()
}

func (h *host) Trace(source any, e seam.Event) {
	(*Loop)(h).trace(source, TraceEvent{Name: Event(e.Name), Chunk: e.Chunk, From: e.From, Err: e.Err})
}

// watch is a descriptor of a guest. Its events have negative slots, -1 for the first of Loop.watches.
type watch struct {
	l    *Loop
	raw  syscall.RawConn
	slot int
	run  func()         // the task, bound once
	what netpoll.Events // that have happened; of the loop's owner
	told func(failed bool)
}

func (h *host) Watch(raw syscall.RawConn, ready func(failed bool)) seam.Watch {
	l := (*Loop)(h)
	if !netpoll.Enabled || !l.ready.join(l) {
		return nil
	}
	w := &watch{l: l, raw: raw, told: ready}
	w.run = func() { w.told(w.what&netpoll.Failed != 0) }
	l.mu.Lock()
	for w.slot < len(l.watches) && l.watches[w.slot] != nil {
		w.slot++
	}
	if w.slot == len(l.watches) {
		l.watches = append(l.watches, nil)
	}
	l.watches[w.slot] = w
	l.mu.Unlock()
	if err := w.arm(false, netpoll.Readable); err != nil {
		w.leave()
		return nil
	}
	return w
}

func (w *watch) arm(there bool, what netpoll.Events) error {
	c := strangers.Get().(*netpoll.Call)
	defer strangers.Put(c)
	return c.Watch(w.raw, w.l.ready.set, there, -1-w.slot, what)
}

func (w *watch) Arm(writable, once bool) {
	what := netpoll.Readable
	if writable {
		what |= netpoll.Writable
	}
	if once {
		what |= netpoll.EdgeTriggered
	}
	_ = w.arm(true, what) // the descriptor is in the set, or was closed
}

func (w *watch) Close() {
	c := strangers.Get().(*netpoll.Call)
	c.Unwatch(w.raw, w.l.ready.set)
	strangers.Put(c)
	w.leave()
}

func (w *watch) leave() {
	w.l.mu.Lock()
	w.l.watches[w.slot] = nil
	w.l.mu.Unlock()
	w.l.ready.part(w.l)
}
