package trust

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// manner is a way in which a callback does not return.
type manner struct {
	leave  func()
	goexit bool
	check  func(t testing.TB, v any) // the value of the panic
}

var errPanic = errors.New("a panic of the test's own")

var manners = map[string]manner{
	"panic": {leave: func() { panic(errPanic) }, check: func(t testing.TB, v any) { assert.Equal(t, errPanic, v) }},
	"panic with nil": {leave: func() { panic(nil) }, check: func(t testing.TB, v any) {
		assert.IsType(t, new(runtime.PanicNilError), v)
	}},
	"runtime error": {leave: func() {
		var none []int
		none[len(none)]++
	}, check: func(t testing.TB, v any) { assert.Implements(t, (*runtime.Error)(nil), v) }},
	"Goexit": {leave: runtime.Goexit, goexit: true},
}

// Any callback may panic or call runtime.Goexit. With OnPanic, only the callback's own socket is affected. Without
// OnPanic, Run ends, and the loop can run again. In both cases the other connections are served, and nothing is left
// behind.
func TestPanics(t *testing.T) {
	t.Logf("%d kinds of callback, %d manners each", len(kinds), len(manners))
	for i, kind := range slices.Sorted(maps.Keys(kinds)) {
		for j, manner := range slices.Sorted(maps.Keys(manners)) {
			for k, hooked := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/hook %v", kind, manner, hooked), func(t *testing.T) {
					alternately(t, i+j+k, func(t *testing.T) { tryPanic(t, kinds[kind], manners[manner], hooked) })
				})
			}
		}
	}
}

func tryPanic(t *testing.T, kind callbackKind, m manner, hooked bool) {
	st := &stage{t: t, l: evnet.NewLoop()}
	if kind.onDefault {
		st.l = evnet.DefaultLoop
		defer st.l.OnPanic(nil)
	}
	var reported []*evnet.PanicError
	if hooked {
		st.l.OnPanic(func(err *evnet.PanicError) { reported = append(reported, err) })
	}
	var boomed atomic.Bool
	done := make(chan struct{})
	st.boom = func() {
		if !boomed.CompareAndSwap(false, true) {
			return
		}
		go func() { // the running loop calls it, or this goroutine if the loop has stopped
			defer close(done)
			st.l.Do(func() {})
		}()
		m.leave()
	}
	rounds := neighbours(st, &boomed)
	kind.arrange(st)

	stops := kind.effect != supplied && (m.goexit || !hooked)
	if stops {
		requireUnwinds(t, st.l, m)
		st.l.Do(func() {}) // Do must not block, because the loop is not running
	}
	run(t, st.l)
	hung := bound(t, "Do does not return")
	<-done
	hung.Stop()
	assert.True(t, rounds(), "the neighbours finished their exchanges")

	switch contained := hooked && !m.goexit && kind.effect != supplied; {
	case !contained:
		assert.Empty(t, reported)
	default:
		require.Len(t, reported, 1)
		m.check(t, reported[0].Value)
		assert.Contains(t, string(reported[0].Stack), "tryPanic", "the stack of the callback")
		assert.Same(t, st.victim, reported[0].Socket)
	}
	if st.victim == nil {
		return
	}
	assert.True(t, st.victim.Closed())
	if kind.effect == ended {
		return
	}
	var perr *evnet.PanicError
	require.ErrorAs(t, st.victim.Err(), &perr)
	assert.Same(t, st.victim, perr.Socket)
	if m.goexit || stops {
		return // after Goexit, or if the panic is not contained, Value is not the value of the panic
	}
	m.check(t, perr.Value)
	if err, ok := perr.Value.(error); ok {
		assert.ErrorIs(t, st.victim.Err(), err)
	}
}

// requireUnwinds runs the loop, and requires that a callback ends Run in the given manner.
func requireUnwinds(t testing.TB, l *evnet.Loop, m manner) {
	t.Helper()
	hung := bound(t, "Loop.Run does not unwind")
	defer hung.Stop()
	over := make(chan struct{})
	returned := false
	var v any
	var stack string
	go func() {
		defer close(over)
		defer func() {
			if v = recover(); v != nil {
				stack = string(debug.Stack())
			}
		}()
		l.Run()
		returned = true
	}()
	<-over
	require.False(t, returned, "Run returned normally")
	if m.goexit {
		require.Nil(t, v)
		return
	}
	m.check(t, v)
	assert.Contains(t, stack, "tryPanic", "the stack of the callback")
}

// neighbours starts a client and a server that exchange one byte repeatedly. They stop some rounds after boomed is
// true and the victim is destroyed, and then everything on the stage is closed. done reports whether they have
// reached that point.
func neighbours(st *stage, boomed *atomic.Bool) (done func() bool) {
	_, address := st.server(evnet.ServerOptions{}, func(s *evnet.Socket) { s.Pipe(s) })
	c := st.socket(evnet.SocketOptions{})
	left := 5
	c.On.Data(func(p []byte) {
		if boomed.Load() && (st.victim == nil || st.victim.Destroyed()) {
			left--
		}
		if left > 0 {
			_, _ = c.Write(p)
		} else {
			st.clear()
		}
	})
	c.Connect("tcp", address)
	_, _ = c.WriteString("x")
	return func() bool { return left == 0 }
}

// Every method that takes a callback has a kind. A new method fails this test until it is added to kinds.
func TestPanicsTryEveryCallback(t *testing.T) {
	for _, name := range callbackMethods() {
		assert.True(t, name == "Loop.OnPanic" || isCovered(name, kinds), "no kind of callback for %s", name)
	}
}

// isCovered reports whether a test has a kind for the method, or several.
func isCovered[kind any](name string, kinds map[string]kind) bool {
	for tried := range kinds {
		if tried == name || strings.HasPrefix(tried, name+",") {
			return true
		}
	}
	return false
}

// callbackMethods returns the methods that take a callback which the loop calls.
func callbackMethods() (names []string) {
	elsewhere := []string{"Socket.ReadFrom", "Socket.Unpipe"} // Unpipe only compares its argument
	writers := reflect.TypeFor[interface{ Write([]byte) (int, error) }]()
	readers := reflect.TypeFor[interface{ Read([]byte) (int, error) }]()
	for _, of := range []reflect.Type{
		reflect.TypeFor[evnet.SocketEvents](), reflect.TypeFor[evnet.ServerEvents](), reflect.TypeFor[*evnet.Socket](),
		reflect.TypeFor[*evnet.Server](), reflect.TypeFor[*evnet.Loop](), reflect.TypeFor[*evnet.Timer](), reflect.TypeFor[*evnet.BlockList](),
	} {
		for i := range of.NumMethod() {
			m := of.Method(i)
			name := strings.TrimPrefix(strings.TrimPrefix(of.String(), "*"), "evnet.") + "." + m.Name
			for in := 1; in < m.Type.NumIn(); in++ {
				arg := m.Type.In(in)
				calls := arg.Kind() == reflect.Func || arg.Kind() == reflect.Interface &&
					arg.NumMethod() == 1 && (arg.Implements(writers) || arg.Implements(readers))
				if calls && !slices.Contains(elsewhere, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// If the hook does not return, it ends Run, whatever the panic was. The loop can run again.
func TestPanicsInTheHook(t *testing.T) {
	for name, m := range manners {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				st := &stage{t: t, l: evnet.NewLoop()}
				var boomed atomic.Bool
				reported := 0
				st.l.OnPanic(func(*evnet.PanicError) {
					reported++
					tryPanicHook(m)
				})
				rounds := neighbours(st, &boomed)
				s, peer := st.pair()
				s.On.Data(func([]byte) { boomed.Store(true); panic("first") })
				_, _ = peer.WriteString("x")
				requireUnwinds(t, st.l, manner{goexit: m.goexit, check: m.check})
				run(t, st.l)
				assert.Equal(t, 1, reported)
				assert.True(t, rounds())
				assert.True(t, s.Closed())
				var perr *evnet.PanicError
				require.ErrorAs(t, s.Err(), &perr)
				assert.Equal(t, "first", perr.Value)
			})
		})
	}
}

func tryPanicHook(m manner) { m.leave() }

// A panic in a function that the program calls on its own goroutine unwinds there, and the socket stays usable.
func TestPanicsOfOtherGoroutines(t *testing.T) {
	type try struct {
		peer func(peer *evnet.Socket) // what it does so that the callback runs
		call func(s *evnet.Socket, leave func())
	}
	for tryName, c := range map[string]try{
		"Chunks": {
			func(peer *evnet.Socket) { _, _ = peer.WriteString("x") },
			func(s *evnet.Socket, leave func()) {
				for range s.Chunks() {
					leave()
				}
			},
		},
		"ReadFrom": {
			func(*evnet.Socket) {},
			func(s *evnet.Socket, leave func()) {
				_, _ = s.ReadFrom(reader(func([]byte) (int, error) { leave(); return 0, nil }))
			},
		},
	} {
		for name, m := range manners {
			t.Run(tryName+"/"+name, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					st := &stage{t: t, l: evnet.NewLoop()}
					s, peer := st.pair()
					c.peer(peer)
					aside(st.l, func() {
						over := make(chan struct{})
						go func() {
							defer close(over)
							defer func() {
								if v := recover(); !m.goexit {
									m.check(t, v)
								}
							}()
							c.call(s, m.leave)
						}()
						<-over
						st.l.Do(func() { // another consumer and further writes are possible
							got := ""
							peer.On.Data(func(p []byte) { got += string(p) })
							s.On.End(func() { assert.Equal(t, "y", got); st.clear() })
							assert.NoError(t, s.On.Data(func([]byte) {}).Err())
							_, err := s.WriteString("y")
							assert.NoError(t, err)
							peer.Once.Data(func([]byte) { peer.End() })
						})
					})
					run(t, st.l)
					assert.NoError(t, s.Err())
				})
			})
		}
	}
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// A panic in a listener of a relayed socket destroys both sockets, and done gets it as its error.
func TestPanicsInARelay(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		l.OnPanic(func(*evnet.PanicError) {})
		a, toA := pair(t)
		b, toB := pair(t)
		x, y := wrap(l, a), wrap(l, b)
		var cause error
		evnet.Relay(x, y, func(err error) { cause = err })
		x.On.Data(func([]byte) { panic(errPanic) })
		_, err := toA.Write([]byte("x"))
		require.NoError(t, err)
		run(t, l)
		assert.ErrorIs(t, cause, errPanic)
		assert.True(t, x.Closed() && y.Closed())
		for _, c := range []net.Conn{toA, toB} {
			require.NoError(t, c.Close())
		}
	})
}
