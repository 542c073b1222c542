package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"evnet/internal/eventloop"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testOwner is an Owner that records what its stream reports.
type testOwner struct {
	mu     sync.Mutex
	stream Stream
	loop   *testLoop
	member eventloop.Member
	noted  bool // a reset may be reported while the stream does not read

	served    int // calls of Serve
	got       bytes.Buffer
	flags     []Flags // not empty, in order
	errs      []error
	pipes     []Report
	ended     int // reports of Ended
	completed int // calls of Progressed with true
	failures  []error
	byWriter  bool  // of the last failure
	closing   error // of ClosePanicked
	keep      bool  // reports are kept for the test to release
	kept      []Report
	onReport  func(r *Report)

	beforeFailed func() // before Failed takes the failure
}

// own makes an owner with an open stream.
func own(l *testLoop, conn net.Conn) *testOwner {
	o := ownNone(l)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stream.Open(conn)
	return o
}

// ownNone makes an owner whose stream is not open.
func ownNone(l *testLoop) *testOwner {
	o := &testOwner{loop: l}
	l.owners = append(l.owners, o)
	o.stream.Init(o)
	return o
}

func (o *testOwner) Ready(what netpoll.Events) {
	if what&Ended != 0 {
		o.ended++
		return
	}
	o.mu.Lock()
	if !o.stream.IsOpen() {
		o.mu.Unlock()
		return
	}
	o.served++
	var r Report
	o.stream.Serve(what, maxChunk, o.loop.pipesOn, &r)
	o.got.Write(r.Data)
	if r.Flags != 0 {
		o.flags = append(o.flags, r.Flags)
	}
	if r.Err != nil {
		o.errs = append(o.errs, r.Err)
	}
	if r.Pipe != nil {
		o.pipes = append(o.pipes, r)
	}
	o.mu.Unlock()
	if o.onReport != nil {
		o.onReport(&r)
	}
	if o.keep {
		o.kept = append(o.kept, r)
		return
	}
	r.Release()
}

func (o *testOwner) Halt()                     {}
func (o *testOwner) Loop() Loop                { return o.loop }
func (o *testOwner) Mutex() *sync.Mutex        { return &o.mu }
func (o *testOwner) Member() *eventloop.Member { return &o.member }
func (o *testOwner) SplicePipes() *SplicePipes { return &o.loop.pipes }
func (o *testOwner) WatchesReset() bool        { return o.noted }

func (o *testOwner) Progressed(completed bool) {
	if completed {
		o.completed++
	}
}

func (o *testOwner) Failed() {
	if o.beforeFailed != nil {
		o.beforeFailed()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err, byWriter := o.stream.TakeFailure(); err != nil {
		o.failures, o.byWriter = append(o.failures, err), byWriter
	}
}

var errPanicked = errors.New("a method of the conn has panicked")

func (o *testOwner) PanicError(value any, _ []byte) error {
	return fmt.Errorf("%w: %v", errPanicked, value)
}

func (o *testOwner) ClosePanicked(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = err
}

// do calls fn with the lock.
func (o *testOwner) do(fn func(s *Stream)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn(&o.stream)
}

// is returns a condition for until that calls fn with the lock.
func (o *testOwner) is(fn func(s *Stream) bool) func() bool {
	return func() (holds bool) {
		o.do(func(s *Stream) { holds = fn(s) })
		return holds
	}
}

// send sends p as a caller with the lock does: immediately if that is possible.
func (o *testOwner) send(t testing.TB, p []byte) {
	o.do(func(s *Stream) {
		if !s.MayWrite() {
			s.Append(p)
			return
		}
		_, err := s.Send(p)
		require.NoError(t, err)
	})
}

// end ends the sending side.
func (o *testOwner) end(t testing.TB) {
	o.do(func(s *Stream) {
		s.End()
		if s.MayWrite() {
			_, err := s.Flush()
			require.NoError(t, err)
		}
	})
}

func (o *testOwner) retire(reset bool) {
	o.mu.Lock()
	c := o.stream.Retire(reset)
	o.mu.Unlock()
	c.Close()
}

// hasEnded reports whether the peer's end was received.
func (o *testOwner) hasEnded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.errs) > 0 && o.errs[len(o.errs)-1] == io.EOF
}

// pipePair returns both ends of a net.Pipe, which the goroutine driver serves without a descriptor.
func pipePair(t testing.TB) (here, there net.Conn) {
	here, there = net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (here, there *net.TCPConn) {
	there, here = evtest.TCPPair(t)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

// onEach runs the test with the goroutine driver and, if epoll is available, with the epoll driver.
func onEach(t *testing.T, fn func(t *testing.T)) {
	for name, enabled := range map[string]bool{"epoll": true, "goroutine": false} {
		t.Run(name, func(t *testing.T) {
			evtest.UseEpoll(t, enabled)
			fn(t)
		})
	}
}
