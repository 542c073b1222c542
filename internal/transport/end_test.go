package transport

import (
	"net"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// If the end cannot be sent on a kernel conn, it does not count as sent when the loop processes Ended, also if the writer
// goroutine has tried to send it.
func TestEnd_FailsOnAKernelConn(t *testing.T) {
	tries := map[string]func(o *testOwner, s *Stream){
		"Flush": func(_ *testOwner, s *Stream) {
			_, err := s.Flush()
			assert.ErrorIs(t, err, net.ErrClosed)
		},
		"writer": func(_ *testOwner, s *Stream) {
			s.workers = newGoroutine(s)
			s.workers.writing = true
			s.owner.Mutex().Unlock()
			defer s.owner.Mutex().Lock()
			assert.False(t, s.workers.keepWriting(nil))
		},
	}
	for name, try := range tries {
		t.Run(name, func(t *testing.T) {
			evtest.UseEpoll(t, false)
			l := newLoop(t)
			here, there := evtest.TCPPair(t)
			defer there.Close()
			o := own(l, here)
			_ = here.Close() // so that CloseWrite fails
			o.do(func(s *Stream) {
				s.End()
				try(o, s)
				assert.False(t, s.EndSent())
			})
			o.retire(false)
		})
	}
}
