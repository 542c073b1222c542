package evnet_test

import (
	"io"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// As in Node, the callback of a write that a callback has made runs behind what was posted before the write, and before
// what is posted after it.
func TestWriteThen_CallbackKeepsItsPlaceAmongPosts(t *testing.T) {
	for name, p := range map[string][]byte{"nothing": nil, "a byte": {'x'}, "20 KB": make([]byte, 20_000)} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := evtest.TCPPair(t)
				go func() { _, _ = io.Copy(io.Discard, there); _ = there.Close() }()
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				var got kit.Notes
				l.Post(func() {
					s.WriteThen(p, func(error) {
						l.Post(got.Say("before"))
						s.WriteThen(p, func(error) {
							got.Say("written")()
							l.AfterFunc(time.Millisecond, s.End)
						})
						l.Post(got.Say("after"))
					})
				})
				kit.Run(t, l)
				assert.Equal(t, kit.Notes{"before", "written", "after"}, got)
			})
		})
	}
}
