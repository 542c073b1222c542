package trust

import (
	"crypto/tls"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tlsCallbacks are the callbacks to test under TLS, in the same form as callbacks.
var tlsCallbacks = map[string]func(p *place, fn func()){
	"SocketEvents.SecureConnect": func(p *place, fn func()) { p.s.On.SecureConnect(fn) },
	"ServerEvents.Connection":    func(p *place, fn func()) { p.server.On.Connection(func(*evnet.Socket) { fn() }) },
	"SocketEvents.Data":          func(p *place, fn func()) { p.s.On.Data(func([]byte) { fn() }) },
	"ServerEvents.TLSClientError": func(p *place, fn func()) {
		p.server.On.TLSClientError(func(error, *evnet.Socket) { fn(); p.s.Destroy(nil) })
		p.s.On.Ready(func() { _, _ = p.s.Conn().(*tls.Conn).NetConn().Write([]byte("not a TLS record")) })
	},
	"SocketEvents.Ready": func(p *place, fn func()) { p.s.On.Ready(fn) }, // during the handshake
}

// Every method may be called in every callback under TLS.
func TestEverywhereTLS(t *testing.T) {
	onEach(t, func(t *testing.T) { callAll(t, tlsCallbacks, selfSigned()) })
}

// Every method may be called while StartTLS is under way, on both sides.
func TestEverywhereStartTLS(t *testing.T) {
	onEach(t, func(t *testing.T) {
		tests := map[string]func(t *testing.T){}
		for i, side := range []string{"client", "server"} {
			tests[side] = func(t *testing.T) {
				eachMethod(i, func(name string, call func(*place)) { callInStartTLS(t, side, name, call) })
			}
		}
		together(t, tests)
	})
}

// callInStartTLS starts TLS on both sides in Data. Then it calls the method on one of them while the handshake is
// under way.
func callInStartTLS(t *testing.T, side, what string, call func(*place)) {
	p, _ := newPlace(t, nil)
	called := false
	upgraded := func(of string, s *evnet.Socket, err error) {
		require.NoError(t, err)
		if of != side {
			return
		}
		p.l.Post(func() {
			_, secure := s.TLS()
			assert.False(t, secure || s.Destroyed(), "%s %s: the handshake is not under way", side, what)
			p.s, called = s, true
			call(p)
		})
	}
	over := func(bool) { p.later(p.end) }
	p.server.RemoveAllListeners(evnet.EventConnection)
	p.server.On.Connection(func(s *evnet.Socket) {
		s.On.Close(over)
		s.Once.Data(func([]byte) {
			s.Resume() // reads what is received under TLS
			_, _ = s.WriteString("proceed")
			upgraded("server", s, s.StartTLSServer(selfSigned()))
		})
	})
	client := p.s
	client.On.Close(over)
	client.On.Connect(func() { _, _ = client.WriteString("start") })
	client.On.SecureConnect(client.End)
	client.Once.Data(func([]byte) {
		client.Resume()
		upgraded("client", client, client.StartTLS(&tls.Config{InsecureSkipVerify: true}))
	})
	require.NoError(t, p.listen())
	client.Connect("tcp", p.server.Address().String())
	hung := time.AfterFunc(patience, func() { panic(side + " " + what + ": Run does not return") })
	p.l.Run()
	hung.Stop()
	assert.True(t, called, "%s %s", side, what)
	client.Destroy(nil)
	p.cancel()
}
