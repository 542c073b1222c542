package conformance_test

import (
	"fmt"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// An emit continues with all its listeners after the first has ended the socket, as in Node. No other event than Error
// and Close follows. Package dgram has the same rule.
func TestDestroy_EmitContinuesWithItsListeners(t *testing.T) {
	for what, end := range map[string]func(s *evnet.Socket){
		"Destroy":           func(s *evnet.Socket) { s.Destroy(nil) },
		"Destroy, an error": func(s *evnet.Socket) { s.Destroy(evtest.Boom("boom")) },
		"Reset":             func(s *evnet.Socket) { s.Reset() },
	} {
		for _, in := range []evnet.Event{evnet.EventConnect, evnet.EventReady, evnet.EventDrain, evnet.EventData, evnet.EventEnd, evnet.EventFinish} {
			t.Run(fmt.Sprint(what, " in ", in), func(t *testing.T) {
				evtest.OnBothTransports(t, func(t *testing.T) {
					l := evnet.NewLoop()
					var order []evnet.Event
					kit.Meet(t, l, func(c *evnet.Socket) {
						c.On.Error(func(error) {})
						_, _ = c.WriteString("hello")
						if c.Resume(); in != evnet.EventDrain { // which is not emitted after the automatic end
							c.End()
						}
					}, func(s *evnet.Socket) {
						first, failed := true, false
						note := func(event evnet.Event) func() {
							return func() {
								if event == in || !first { // only events from the destruction on
									order = append(order, event)
								}
								if event == in && first {
									first = false
									end(s)
								}
							}
						}
						for range 2 {
							s.On.Connect(note(evnet.EventConnect))
							s.On.Ready(note(evnet.EventReady))
							s.On.Drain(note(evnet.EventDrain))
							data := note(evnet.EventData)
							s.On.Data(func([]byte) { data() })
							s.On.End(note(evnet.EventEnd))
							s.On.Finish(note(evnet.EventFinish))
						}
						s.On.Error(func(error) { failed = true })
						s.On.Close(func(hadError bool) {
							assert.Equal(t, failed, hadError)
							assert.Equal(t, []evnet.Event{in, in}, order)
						})
						if in == evnet.EventDrain {
							s.On.Connect(func() { _, _ = s.Write(make([]byte, 16*evtest.Megabyte)) })
						}
					})
					kit.Run(t, l)
					assert.Len(t, order, 2)
				})
			})
		}
	}
}
