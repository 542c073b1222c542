package evnet

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"evnet/internal/eventloop"
)

// Which loops of a server run: only those get connections.

// idleLoopTime is how long a loop of a server may not run, after a connection that it could have served, before that is
// logged.
const idleLoopTime = 5 * time.Second

// runState records whether a loop runs, and which servers listen on it.
type runState struct {
	running atomic.Bool
	mu      sync.Mutex
	servers map[*listening]struct{}
}

// set records that Run of loop begins or ends, and redistributes the connections that wait.
func (r *runState) set(loop *Loop, running bool) {
	r.running.Store(running)
	r.mu.Lock()
	servers := make([]*listening, 0, len(r.servers))
	for lis := range r.servers {
		servers = append(servers, lis)
	}
	r.mu.Unlock()
	for _, lis := range servers {
		lis.loopChanged(loop)
	}
}

func (r *runState) add(lis *listening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.servers == nil {
		r.servers = map[*listening]struct{}{}
	}
	r.servers[lis] = struct{}{}
}

func (r *runState) remove(lis *listening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.servers, lis); len(r.servers) == 0 {
		r.servers = nil // because a map never releases memory
	}
}

// watchLoops makes each loop of the server get connections while it runs.
func (lis *listening) watchLoops() {
	for _, set := range lis.server.settings {
		set.Loop.host().run.add(lis)
		lis.loopChanged(set.Loop)
	}
}

// unwatchLoops undoes watchLoops.
func (lis *listening) unwatchLoops() {
	for _, set := range lis.server.settings {
		set.Loop.host().run.remove(lis)
	}
}

// loopChanged opens or closes the queues of a loop, and notifies the loops that have connections to serve.
func (lis *listening) loopChanged(loop *Loop) {
	for i, set := range lis.server.settings {
		if set.Loop != loop {
			continue
		}
		for _, n := range lis.handoff.SetOpen(i, loop.host().run.running.Load) {
			lis.notify(n)
		}
	}
}

// notify makes a loop serve one connection.
func (lis *listening) notify(i int) {
	lis.server.settings[i].Loop.core().Event(lis.serveNext[i])
}

// reportIdleLoopsLater starts the timer of reportIdleLoops, once, if a loop does not run. It runs on the acceptor's
// goroutine.
func (lis *listening) reportIdleLoopsLater() {
	if lis.reporting || lis.handoff.AllOpen() {
		return
	}
	lis.reporting = true
	s := lis.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lis == lis {
		lis.idleTimer = time.AfterFunc(idleLoopTime, lis.reportIdleLoops)
	}
}

// reportIdleLoops logs that loops of the server do not run: the program has probably forgotten to call Run. It runs on a
// goroutine of its own, because the server's loop may be one of them.
func (lis *listening) reportIdleLoops() {
	s, idle := lis.server, 0
	for _, set := range s.settings {
		if !set.Loop.host().run.running.Load() {
			idle++
		}
	}
	if idle == 0 {
		return
	}
	text := "evnet: loops of the server do not run, and get no connections"
	if idle == len(s.settings) {
		text = "evnet: the server's connections wait, because no loop of it runs"
	}
	eventloop.Contain((*handle)(nil), func() error {
		if r, ok := s.acceptLog.Take(s.settings[0].logger(), slog.LevelWarn); ok {
			r.Write(text, "idle", idle, "loops", len(s.settings), "local", lis.addr)
		}
		return nil
	}, func(error) {}) // a Logger that panics has no other goroutine to panic on
}
