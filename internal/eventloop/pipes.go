package eventloop

import "evnet/internal/netpoll"

// Kernel pipes through which sources splice bytes. A loop has a few for all of them.

const (
	maxWaiting = 16             // pipes of a loop that may wait for their destinations
	MaxPipes   = maxWaiting + 1 // the pipes that one loop has at most
)

// pipePool is guarded by the loop's mu.
type pipePool struct {
	idle []*netpoll.SplicePipe // empty ones
	used int                   // the others
}

// TakePipe returns an empty pipe, nil if there is none. PutPipe or DropPipe follows.
func (l *Loop) TakePipe() *netpoll.SplicePipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.pipes
	if p.used == MaxPipes {
		return nil
	}
	if n := len(p.idle); n > 0 {
		pipe := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.used++
		return pipe
	}
	pipe, err := netpoll.NewSplicePipe()
	if err != nil {
		return nil
	}
	p.used++
	return pipe
}

// PutPipe returns an empty pipe to the loop.
func (l *Loop) PutPipe(pipe *netpoll.SplicePipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pipes.used--
	if !l.running {
		pipe.Close()
		return
	}
	l.pipes.idle = append(l.pipes.idle, pipe)
}

// DropPipe closes a pipe, and discards the bytes in it.
func (l *Loop) DropPipe(pipe *netpoll.SplicePipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pipes.used--
	pipe.Close()
}

// IsShortOfPipes reports whether so many pipes are in use that none of them may wait for its destination. One is thus
// always free for streams whose destinations have room.
func (l *Loop) IsShortOfPipes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pipes.used > maxWaiting
}

func (p *pipePool) closeIdle() {
	for _, pipe := range p.idle {
		pipe.Close()
	}
	p.idle = nil
}
