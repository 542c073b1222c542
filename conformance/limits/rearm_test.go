package limits_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rearming is a socket with a callback that causes its own next call, until others have done their work.
type rearming struct {
	l       *evnet.Loop
	s       *evnet.Socket
	begun   chan struct{} // closed by the first call
	calls   int
	stopped bool
}

// tooManyCalls is far more than the calls of one turn, and a sign that nothing else runs.
const tooManyCalls = 1_000_000

// goesOn counts a call of the callback and reports whether it may cause the next one.
func (r *rearming) goesOn() bool {
	if r.calls++; r.calls == 1 {
		close(r.begun)
	}
	return !r.stopped && r.calls < tooManyCalls
}

func (r *rearming) writes(p []byte) {
	if r.goesOn() {
		r.s.WriteThen(p, func(error) { r.writes(p) })
	}
}

func (r *rearming) produces() {
	if r.goesOn() {
		r.s.Produce(func() ([]byte, bool) { return nil, false }, func(error) { r.produces() })
	}
}

func (r *rearming) write() {
	if r.goesOn() {
		_, _ = r.s.Write(make([]byte, 16<<10))
	}
}

// scans makes Scan, which bounds the tokens without an advance, start anew for each.
func (r *rearming) scans() {
	split := func([]byte, bool) (int, []byte, error) { return 0, []byte("token"), nil }
	_ = r.s.Scan(split, 0, func([]byte) {
		if r.goesOn() {
			r.scans()
		} else {
			_ = r.s.Scan(nil, 0, nil)
		}
	})
}

func (r *rearming) connects() {
	if r.goesOn() {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
		s.On.Error(func(error) {})
		s.On.Close(func(bool) { r.connects() })
		s.Connect("tcp", "no port")
	}
}

func (r *rearming) posts() {
	if r.goesOn() {
		r.l.Post(r.posts)
	}
}

// Each function makes a callback cause its own next call.
var rearms = map[string]func(r *rearming){
	"WriteThen, nil":      func(r *rearming) { r.writes(nil) },
	"WriteThen, empty":    func(r *rearming) { r.writes([]byte{}) },
	"WriteThen, a byte":   func(r *rearming) { r.writes([]byte("x")) },
	"WriteThen, 16 KiB":   func(r *rearming) { r.writes(make([]byte, 16<<10)) },
	"WriteThen, 64 KiB":   func(r *rearming) { r.writes(make([]byte, 64<<10)) },
	"WriteThen after End": func(r *rearming) { r.s.End(); r.writes([]byte("x")) },
	"WriteThen after Close": func(r *rearming) {
		_ = r.s.Close()
		r.writes([]byte("x"))
	},
	"WriteThen after Destroy": func(r *rearming) { r.s.Destroy(nil); r.writes([]byte("x")) },
	"WriteThen before Connect": func(r *rearming) {
		r.s.Destroy(nil)
		r.s = kit.NewClient(r.l)
		r.writes([]byte("x"))
	},
	"WriteThen, refused": func(r *rearming) {
		r.s.Cork()
		_, _ = r.s.Write(make([]byte, 17<<20))
		r.writes([]byte("x"))
	},
	"Produce, empty": func(r *rearming) {
		r.s.Produce(func() ([]byte, bool) { return nil, r.goesOn() }, nil)
	},
	"Produce, 16 KiB": func(r *rearming) {
		r.s.Produce(func() ([]byte, bool) { return make([]byte, 16<<10), r.goesOn() }, nil)
	},
	"Produce in done":               (*rearming).produces,
	"Produce in done after Destroy": func(r *rearming) { r.s.Destroy(nil); r.produces() },
	"Drain": func(r *rearming) {
		r.s.On.Drain(r.write)
		r.write()
	},
	"Unshift in Data": func(r *rearming) {
		r.s.On.Data(func(p []byte) {
			if r.goesOn() {
				_ = r.s.Unshift(p)
			}
		})
	},
	"Unshift in OnRead": func(r *rearming) {
		_ = r.s.OnRead(func(p []byte) bool {
			if r.goesOn() {
				_ = r.s.Unshift(p)
			}
			return true
		})
	},
	"Unshift in Scan": func(r *rearming) {
		_ = r.s.Scan(bufio.ScanBytes, 0, func(p []byte) {
			if r.goesOn() {
				_ = r.s.Unshift(p)
			}
		})
	},
	"Pause and Resume": func(r *rearming) {
		_ = r.s.Scan(bufio.ScanBytes, 0, func(p []byte) {
			if r.s.Pause(); r.goesOn() {
				_ = r.s.Unshift(p)
			}
			r.s.Resume()
		})
	},
	"Scan":            (*rearming).scans,
	"Connect, failed": (*rearming).connects,
	"Post":            (*rearming).posts,
}

// In a bubble the clock does not advance while a callback causes its own next call. Other sockets still get their turns.
func TestBudget_LimitsCallbacksThatCauseTheirNextCall(t *testing.T) {
	for name, begin := range rearms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := evtest.MemoryPair(&net.TCPAddr{Port: 1}, &net.TCPAddr{Port: 2})
				r := &rearming{l: l, s: evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), begun: make(chan struct{})}
				other, peer := kit.WrapPipe(l, evnet.SocketOptions{})
				kit.Echo(other)
				l.Post(func() { begin(r) })
				_, err := there.Write([]byte("12345678"))
				require.NoError(t, err)
				go func() { _, _ = io.Copy(io.Discard, there) }()
				kit.Aside(l, func() {
					<-r.begun
					p := make([]byte, 1)
					for range 20 {
						_, err := peer.Write(p)
						assert.NoError(t, err)
						_, err = io.ReadFull(peer, p)
						assert.NoError(t, err)
					}
					l.Post(func() {
						r.stopped = true
						r.s.Destroy(nil)
						other.Destroy(nil)
					})
				})
				kit.Run(t, l)
				_, _ = there.Close(), peer.Close()
				assert.Less(t, r.calls, tooManyCalls)
			})
		})
	}
}

// A callback that writes again, although each write is refused, delays neither Error nor Close.
func TestClose_FollowsThoughACallbackWritesAgain(t *testing.T) {
	for name, end := range map[string]func(*evnet.Socket){
		"Destroy": func(s *evnet.Socket) { s.Destroy(nil) },
		"Close":   func(s *evnet.Socket) { _ = s.Close() },
		"Reset":   (*evnet.Socket).Reset,
		"failure": func(s *evnet.Socket) { _ = s.Conn().Close(); _, _ = s.Write([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := connection(t)
				defer there.Close()
				r := &rearming{l: l, s: evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), begun: make(chan struct{})}
				closes := 0
				r.s.On.Error(func(error) {})
				r.s.On.Close(func(bool) { closes++; r.stopped = true })
				l.Post(func() {
					r.writes([]byte("x"))
					end(r.s)
				})
				kit.Run(t, l)
				assert.Equal(t, 1, closes)
				assert.Less(t, r.calls, tooManyCalls)
			})
		})
	}
}
