package evnet_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// The end of its context reaches a loop also while it looks which sockets are ready.
func TestServeEndsWhileItLooks(t *testing.T) {
	hung := time.AfterFunc(evtest.Patience, func() { panic("Loop.Serve does not return") })
	defer hung.Stop()
	for round := range 3000 {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		ctx, cancel := context.WithCancel(t.Context())
		l.Post(func() {
			go func() {
				for range round % 10 {
					runtime.Gosched()
				}
				cancel()
			}()
		})
		assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
		_ = there.Close()
	}
}
