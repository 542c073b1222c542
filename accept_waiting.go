package evnet

import (
	"net"
	"sync"

	"evnet/internal/fifo"
)

// Accepted conns that wait for the loop that is to have them.

const maxPending = 128 // for one busy loop

// waiting are the accepted conns of one period of listening that no loop has taken up yet. Who takes a conn
// out has it: its loop, or the end of listening.
type waiting struct {
	mu     sync.Mutex
	queues []fifo.Queue[net.Conn] // for each of the loops
	next   int                    // of the loops, to get a conn
	over   bool                   // listening has ended
	room   chan struct{}          // told when one waits no longer
}

// put queues a conn for the next loop that has room for it, -1 if none has or listening is over.
func (w *waiting) put(conn net.Conn) (loop int, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return -1, true
	}
	for range w.queues {
		loop = w.next
		w.next = (w.next + 1) % len(w.queues)
		if q := &w.queues[loop]; q.Len() < maxPending {
			q.Push(conn)
			return loop, false
		}
	}
	return -1, false
}

// take is for a loop: the conn that has waited longest for it, nil if there is none any more.
func (w *waiting) take(loop int) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queues[loop].Len() == 0 {
		return nil
	}
	select {
	case w.room <- struct{}{}:
	default:
	}
	return w.queues[loop].Pop()
}

// end takes all of them, which nobody will serve.
func (w *waiting) end() (conns []net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for i := range w.queues {
		for q := &w.queues[i]; q.Len() > 0; {
			conns = append(conns, q.Pop())
		}
	}
	return conns
}

// assign gives an accepted conn to the next loop that has room for it, and waits while none has.
func (s *Server) assign(lis *listening, conn net.Conn) {
	for {
		loop, over := lis.waiting.put(conn)
		if loop >= 0 {
			s.settings[loop].Loop.event(lis.arrive[loop])
			return
		}
		if !over {
			select {
			case <-lis.waiting.room:
				continue
			case <-lis.closed:
			}
		}
		s.settings[0].closeConn(conn)
		return
	}
}

// arrival is what runs on a loop for each conn that waits for it.
func (s *Server) arrival(lis *listening, loop int) func() {
	set := s.settings[loop]
	return func() {
		if conn := lis.waiting.take(loop); conn != nil {
			set.Loop.ready.giveWay(set.Loop)
			s.connection(lis, set, conn)
		}
	}
}
