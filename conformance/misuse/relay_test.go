package misuse_test

import (
	"io"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Relay reports misuse to done, and destroys the sockets that are open.
func TestRelayMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		relay func(s, closedSocket, failed *evnet.Socket, done func(error))
		is    error
	}{
		"nil":     {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(s, nil, done) }, evnet.ErrNilArgument},
		"nil too": {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(nil, s, done) }, evnet.ErrNilArgument},
		"itself":  {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(s, s, done) }, evnet.ErrRelayed},
		"closed":  {func(s, closedSocket, _ *evnet.Socket, done func(error)) { evnet.Relay(s, closedSocket, done) }, evnet.ErrDestroyed},
		"failed":  {func(s, _, failed *evnet.Socket, done func(error)) { evnet.Relay(failed, s, done) }, evtest.Boom("boom")},
		"from out": {func(s, closedSocket, _ *evnet.Socket, done func(error)) {
			kit.Aside(s.Loop(), func() { evnet.Relay(closedSocket, s, done) })
		}, evnet.ErrDestroyed},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			closedSocket, failed := kit.NewClient(l), kit.NewClient(l)
			failed.On.Error(func(error) {})
			closedSocket.Destroy(nil)
			failed.Destroy(evtest.Boom("boom"))
			kit.Run(t, l)
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			closed := false
			s.On.Close(func(bool) { closed = true })
			var done []error
			c.relay(s, closedSocket, failed, func(err error) { assert.True(t, closed); done = append(done, err) })
			kit.Run(t, l)
			require.Len(t, done, 1)
			assert.ErrorIs(t, done[0], c.is)
			_ = peer.Close()
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		var done []error
		evnet.Relay(nil, nil, func(err error) { done = append(done, err) })
		kit.Run(t, evnet.DefaultLoop)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], evnet.ErrNilArgument)
	})
	t.Run("a second relay", func(t *testing.T) {
		l := evnet.NewLoop()
		r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tcp"])
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		var done []error
		evnet.Relay(r.A, s, func(err error) { // the first relay continues
			done = append(done, err)
			_, _ = r.PeerA.Write([]byte("hello"))
			_ = r.PeerA.Close()
			_ = evtest.CloseWrite(r.PeerB)
		})
		kit.Run(t, l)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], evnet.ErrRelayed)
		assert.Equal(t, []error{nil}, r.Done)
		got, _ := io.ReadAll(r.PeerB)
		assert.Equal(t, "hello", string(got))
		_ = r.PeerB.Close()
		_ = peer.Close()
	})
}
