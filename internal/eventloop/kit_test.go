package eventloop

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHost is a Host that records its calls. Set onPanic before Run.
type fakeHost struct {
	onPanic func(error)
	roomy   int // calls of RoomAvailable
	running bool
}

func newLoop() *Loop { return New(&fakeHost{}) }

func (h *fakeHost) OnPanic() func(error)                     { return h.onPanic }
func (h *fakeHost) SetRunning(running bool)                  { h.running = running }
func (h *fakeHost) RoomAvailable()                           { h.roomy++ }
func (h *fakeHost) Tracing() bool                            { return false }
func (h *fakeHost) Trace(TraceEvent)                         {}
func (h *fakeHost) PanicError(value any, stack []byte) error { return &fakePanic{value, stack, nil} }

// fakePanic is the error of a panic, of one owner or of none.
type fakePanic struct {
	value any
	stack []byte
	owner Owner
}

func (p *fakePanic) Error() string { return fmt.Sprint("panic: ", p.value) }
