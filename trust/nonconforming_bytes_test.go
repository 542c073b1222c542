package trust

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// customConn is one end of a net.Pipe. A test can replace its methods.
type customConn struct {
	net.Conn
	read     func(p []byte) (int, error)
	write    func(p []byte) (int, error)
	deadline func(time.Time) error
	close    func() error
	closes   atomic.Int32
}

func (c *customConn) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(p)
	}
	return c.Conn.Read(p)
}

func (c *customConn) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(p)
	}
	return c.Conn.Write(p)
}

func (c *customConn) SetReadDeadline(t time.Time) error {
	if c.deadline != nil {
		return c.deadline(t)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *customConn) Close() error {
	c.closes.Add(1)
	if c.close != nil {
		return c.close()
	}
	return c.Conn.Close()
}

func newCustomConn() (c *customConn, peer net.Conn) {
	here, there := net.Pipe()
	return &customConn{Conn: here}, there
}

// temporaryError is an error that reports itself as temporary.
type temporaryError struct{ timeout bool }

func (temporaryError) Error() string   { return "try again" }
func (temporaryError) Temporary() bool { return true }
func (p temporaryError) Timeout() bool { return p.timeout }

// A conn may do what the contracts of io allow, and what they discourage. No data is lost.
func TestNonConforming_Reads(t *testing.T) {
	broken := errors.New("broken")
	// Each answer of Read. An answer with neither bytes nor an error is returned that many times.
	type answer struct {
		text  string
		err   error
		times int
	}
	many := func(n int, err error) answer { return answer{err: err, times: n} }
	for name, c := range map[string]struct {
		answers []answer
		want    string
		err     error
	}{
		"the end with the last bytes":     {[]answer{{text: "a"}, {text: "b", err: io.EOF}}, "ab", nil},
		"an error with the last bytes":    {[]answer{{text: "a", err: broken}}, "a", broken},
		"nothing, many times":             {[]answer{many(500, nil), {text: "a"}, many(500, nil), {text: "b", err: io.EOF}}, "ab", nil},
		"a temporary error":               {[]answer{{text: "a"}, many(9, temporaryError{}), {text: "b"}, many(9, temporaryError{}), {err: io.EOF}}, "ab", nil},
		"a temporary error, with bytes":   {[]answer{{text: "a", err: temporaryError{}}, {text: "b", err: io.EOF}}, "ab", nil},
		"a temporary error that persists": {[]answer{{text: "a"}, many(1000, temporaryError{})}, "a", temporaryError{}},
		"a timeout of the conn's own":     {[]answer{{text: "a"}, {err: temporaryError{timeout: true}}}, "a", temporaryError{timeout: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := newCustomConn()
				defer peer.Close()
				conn.read = func(p []byte) (int, error) {
					require.NotEmpty(t, c.answers, "Read after the last answer")
					a := &c.answers[0]
					if a.times--; a.times <= 0 {
						c.answers = c.answers[1:]
					}
					return copy(p, a.text), a.err
				}
				l := evnet.NewLoop()
				s := wrap(l, conn)
				var got string
				ended := 0
				s.On.Data(func(p []byte) { got += string(p) })
				s.On.End(func() { ended++ })
				l.Run()
				assert.Equal(t, c.want, got)
				assert.ErrorIs(t, s.Err(), c.err)
				assert.Equal(t, c.err == nil, ended == 1)
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		})
	}
}

// A conn whose Read returns nothing for an hour is read at most a hundred times a second.
func TestNonConforming_EndlessEmptyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := newCustomConn()
		defer peer.Close()
		reads := 0
		conn.read = func([]byte) (int, error) { reads++; return 0, nil }
		l := evnet.NewLoop()
		s := wrap(l, conn)
		consume(s)
		lasting := evtest.Pick(10*time.Minute, time.Hour)
		l.AfterFunc(lasting, func() { s.Destroy(nil) })
		began := time.Now()
		l.Run()
		assert.LessOrEqual(t, time.Since(began), lasting+time.Second)
		assert.Less(t, reads, int(lasting/time.Second)*100+100)
	})
}

// Data that a conn accepts in parts, or only later, is written completely. If a conn never accepts it, that is an
// error.
func TestNonConforming_Writes(t *testing.T) {
	for name, c := range map[string]struct {
		write func(i, n int) (int, error) // the i-th answer, for n bytes
		err   error
	}{
		"a part":                          {func(i, n int) (int, error) { return min(n, 3), nil }, nil},
		"nothing for a while":             {func(i, n int) (int, error) { return n * (i % 5 / 4), nil }, nil},
		"nothing ever":                    {func(i, n int) (int, error) { return 0, nil }, io.ErrShortWrite},
		"a temporary error":               {func(i, n int) (int, error) { return min(n, i%2), temporaryError{} }, nil},
		"a temporary error that persists": {func(i, n int) (int, error) { return 0, temporaryError{} }, temporaryError{}},
		"an error after a part": {func(i, n int) (int, error) {
			if i == 0 {
				return min(n, 2), nil
			}
			return 1, io.ErrClosedPipe
		}, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := newCustomConn()
				var wrote []byte
				i := -1
				conn.write = func(p []byte) (int, error) {
					i++
					n, err := c.write(i, len(p))
					wrote = append(wrote, p[:n]...)
					return n, err
				}
				l := evnet.NewLoop()
				s := wrap(l, conn)
				failures := 0
				s.On.Error(func(error) { failures++ })
				text := "a text of some length"
				var done []error
				s.WriteThen([]byte(text), func(err error) { done = append(done, err) })
				s.End()
				l.Run()
				_ = peer.Close()
				require.ErrorIs(t, s.Err(), c.err)
				require.Len(t, done, 1)
				if c.err == nil {
					assert.Equal(t, text, string(wrote))
					assert.NoError(t, done[0])
				} else {
					assert.Equal(t, text[:len(wrote)], string(wrote))
					assert.ErrorIs(t, done[0], c.err)
					assert.Equal(t, 1, failures)
				}
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		})
	}
}

// An impossible count is an error.
func TestNonConforming_Counts(t *testing.T) {
	for _, n := range []int{-1, 1 << 20} {
		conn, peer := newCustomConn()
		conn.read = func([]byte) (int, error) { return n, nil }
		l := evnet.NewLoop()
		s := wrap(l, conn)
		consume(s)
		run(t, l)
		assert.ErrorContains(t, s.Err(), "impossible count")

		conn, _ = newCustomConn()
		conn.write = func([]byte) (int, error) { return n, nil }
		s = wrap(l, conn)
		_, _ = s.WriteString("x")
		run(t, l)
		assert.ErrorContains(t, s.Err(), "impossible count")
		_ = peer.Close()
	}
}

// If a method of a conn panics or ends its goroutine, that is an error of its socket, and of no other socket.
func TestNonConforming_Panics(t *testing.T) {
	for how, fn := range map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		for where, set := range map[string]func(c *customConn){
			"Read":  func(c *customConn) { c.read = func([]byte) (int, error) { fn(); return 0, nil } },
			"Write": func(c *customConn) { c.write = func([]byte) (int, error) { fn(); return 0, nil } },
			"SetReadDeadline": func(c *customConn) {
				c.deadline = func(time.Time) error { fn(); return nil }
			},
			"Close": func(c *customConn) {
				c.close = func() error { _ = c.Conn.Close(); fn(); return nil }
			},
		} {
			t.Run(how+" in "+where, func(t *testing.T) {
				conn, peer := newCustomConn()
				set(conn)
				l := evnet.NewLoop()
				s := wrap(l, conn)
				consume(s)
				_, _ = s.WriteString("x")
				l.Post(func() { s.Pause(); s.Resume() })
				closes := 0
				s.On.Close(func(bool) { closes++ })
				other, friend := net.Pipe()
				aside(l, func() { // the other socket is served all the same
					defer friend.Close()
					_, _ = friend.Write([]byte("x"))
					p := make([]byte, 1)
					_, err := io.ReadFull(friend, p)
					assert.NoError(t, err)
				})
				o := wrap(l, other)
				o.Pipe(o)
				aside(l, func() {
					_, _ = io.ReadFull(peer, make([]byte, 1))
					_ = peer.Close()
				})
				run(t, l)
				assert.Equal(t, 1, closes)
				assert.NoError(t, o.Err())
				var panicked *evnet.PanicError
				if where == "Read" || where == "Write" {
					require.ErrorAs(t, s.Err(), &panicked)
					assert.Same(t, s, panicked.Socket)
				}
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		}
	}
}

// A conn may hold its own lock while it reads, and its other methods may need the lock too. That does not block
// anything else.
func TestNonConforming_Locks(t *testing.T) {
	conn, peer := newCustomConn()
	var mu sync.Mutex
	conn.read = func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return conn.Conn.Read(p) }
	conn.deadline = func(d time.Time) error { mu.Lock(); defer mu.Unlock(); return conn.Conn.SetReadDeadline(d) }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	got := ""
	s.On.Data(func(p []byte) { got += string(p) })
	paused := make(chan struct{})
	l.AfterFunc(time.Millisecond, func() { // while it is in Read
		s.Pause()
		_ = s.Paused() // takes the socket's lock
		l.Post(func() { close(paused); s.Resume() })
	})
	aside(l, func() {
		<-paused
		_, _ = peer.Write([]byte("a"))
		_, _ = peer.Write([]byte("b"))
		_ = peer.Close()
	})
	run(t, l)
	assert.Equal(t, "ab", got)
}

// A slow Close, or a Read that Close does not interrupt, delays Run's return and nothing else.
func TestNonConforming_CloseIsSlow(t *testing.T) {
	conn, peer := newCustomConn()
	released := make(chan struct{})
	conn.close = func() error { <-released; return conn.Conn.Close() }
	conn.read = func(p []byte) (int, error) { <-released; return 0, io.EOF }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	consume(s)
	s.On.Close(func(bool) { // emitted while the conn's Close is still running
		l.AfterFunc(time.Millisecond, func() { close(released) })
	})
	l.Post(func() { s.Destroy(nil) })
	run(t, l)
	assert.True(t, s.Closed())
	assert.EqualValues(t, 1, conn.closes.Load())
	_, err := peer.Write([]byte("x"))
	assert.Error(t, err)
}

func consume(s *evnet.Socket) { s.On.Data(func([]byte) {}) }
