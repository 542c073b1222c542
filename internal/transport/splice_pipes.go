package transport

import (
	"sync"

	"evnet/internal/netpoll"
)

const (
	maxWaiting = 16 // splice pipes of a loop that may wait for their destinations

	// MaxSplicePipes is the maximum number of splice pipes of a loop.
	MaxSplicePipes = maxWaiting + 1
)

// SplicePipes are the splice pipes of a loop. Any goroutine may call the methods. The zero value keeps no idle pipes.
type SplicePipes struct {
	mu      sync.Mutex
	idle    []*netpoll.SplicePipe // empty pipes
	used    int                   // number of the other pipes
	running bool                  // a goroutine runs the loop: idle pipes are kept
}

// SetRunning is called when the loop's Run begins and before it ends. A loop that is not running keeps no idle pipes.
func (s *SplicePipes) SetRunning(running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
	if !running {
		for _, pipe := range s.idle {
			pipe.Close()
		}
		s.idle = nil
	}
}

// take returns an empty pipe, nil if there is none.
func (s *SplicePipes) take() *netpoll.SplicePipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == MaxSplicePipes {
		return nil
	}
	if n := len(s.idle); n > 0 {
		pipe := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.used++
		return pipe
	}
	pipe, err := netpoll.NewSplicePipe()
	if err != nil {
		return nil
	}
	s.used++
	return pipe
}

// keep returns an empty pipe to the idle pipes.
func (s *SplicePipes) keep(pipe *netpoll.SplicePipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if !s.running {
		pipe.Close()
		return
	}
	s.idle = append(s.idle, pipe)
}

// Discard closes a pipe that is in use and discards its bytes.
func (s *SplicePipes) Discard(pipe *netpoll.SplicePipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	pipe.Close()
}

// areScarce reports whether more pipes are in use than may wait for their destinations. As a result, one of MaxSplicePipes
// is always free for streams whose destinations have room.
func (s *SplicePipes) areScarce() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used > maxWaiting
}
