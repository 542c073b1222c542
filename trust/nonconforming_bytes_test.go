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

// oddConn is one end of a net.Pipe with methods of a test's own.
type oddConn struct {
	net.Conn
	read     func(p []byte) (int, error)
	write    func(p []byte) (int, error)
	deadline func(time.Time) error
	close    func() error
	closes   atomic.Int32
}

func (c *oddConn) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(p)
	}
	return c.Conn.Read(p)
}

func (c *oddConn) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(p)
	}
	return c.Conn.Write(p)
}

func (c *oddConn) SetReadDeadline(t time.Time) error {
	if c.deadline != nil {
		return c.deadline(t)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *oddConn) Close() error {
	c.closes.Add(1)
	if c.close != nil {
		return c.close()
	}
	return c.Conn.Close()
}

func odd() (c *oddConn, peer net.Conn) {
	here, there := net.Pipe()
	return &oddConn{Conn: here}, there
}

// passing is an error that says of itself that it passes.
type passing struct{ timeout bool }

func (passing) Error() string   { return "try again" }
func (passing) Temporary() bool { return true }
func (p passing) Timeout() bool { return p.timeout }

// A conn may do what the rules of io allow, and what they discourage. Nothing is lost.
func TestNonConforming_Reads(t *testing.T) {
	broken := errors.New("broken")
	// Each answer of Read; one with neither bytes nor error is given that often.
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
		"the end with the last bytes":             {[]answer{{text: "a"}, {text: "b", err: io.EOF}}, "ab", nil},
		"an error with the last bytes":            {[]answer{{text: "a", err: broken}}, "a", broken},
		"nothing, many times":                     {[]answer{many(500, nil), {text: "a"}, many(500, nil), {text: "b", err: io.EOF}}, "ab", nil},
		"an error that passes":                    {[]answer{{text: "a"}, many(9, passing{}), {text: "b"}, many(9, passing{}), {err: io.EOF}}, "ab", nil},
		"an error that passes, with bytes":        {[]answer{{text: "a", err: passing{}}, {text: "b", err: io.EOF}}, "ab", nil},
		"an error that says it passes, and stays": {[]answer{{text: "a"}, many(1000, passing{})}, "a", passing{}},
		"a timeout of the conn's own":             {[]answer{{text: "a"}, {err: passing{timeout: true}}}, "a", passing{timeout: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := odd()
				defer peer.Close()
				conn.read = func(p []byte) (int, error) {
					require.NotEmpty(t, c.answers, "nothing more is to be read")
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

// A conn whose Read gives nothing for an hour is asked, but a hundred times a second at most.
func TestNonConforming_EndlessEmptyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := odd()
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

// What a conn takes in parts, or not at once, is written whole; what it never takes is an error.
func TestNonConforming_Writes(t *testing.T) {
	for name, c := range map[string]struct {
		write func(i, n int) (int, error) // the i-th answer, for n bytes
		err   error
	}{
		"a part":               {func(i, n int) (int, error) { return min(n, 3), nil }, nil},
		"nothing for a while":  {func(i, n int) (int, error) { return n * (i % 5 / 4), nil }, nil},
		"nothing ever":         {func(i, n int) (int, error) { return 0, nil }, io.ErrShortWrite},
		"an error that passes": {func(i, n int) (int, error) { return min(n, i%2), passing{} }, nil},
		"an error that stays":  {func(i, n int) (int, error) { return 0, passing{} }, passing{}},
		"an error after a part": {func(i, n int) (int, error) {
			if i == 0 {
				return min(n, 2), nil
			}
			return 1, io.ErrClosedPipe
		}, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := odd()
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

// A count that cannot be is an error.
func TestNonConforming_Counts(t *testing.T) {
	for _, n := range []int{-1, 1 << 20} {
		conn, peer := odd()
		conn.read = func([]byte) (int, error) { return n, nil }
		l := evnet.NewLoop()
		s := wrap(l, conn)
		consume(s)
		run(t, l)
		assert.ErrorContains(t, s.Err(), "impossible count")

		conn, _ = odd()
		conn.write = func([]byte) (int, error) { return n, nil }
		s = wrap(l, conn)
		_, _ = s.WriteString("x")
		run(t, l)
		assert.ErrorContains(t, s.Err(), "impossible count")
		_ = peer.Close()
	}
}

// A method of a conn that does not return, but panics or ends its goroutine, is the error of that
// socket, and of no other.
func TestNonConforming_Panics(t *testing.T) {
	for how, fn := range map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		for where, set := range map[string]func(c *oddConn){
			"Read":  func(c *oddConn) { c.read = func([]byte) (int, error) { fn(); return 0, nil } },
			"Write": func(c *oddConn) { c.write = func([]byte) (int, error) { fn(); return 0, nil } },
			"SetReadDeadline": func(c *oddConn) {
				c.deadline = func(time.Time) error { fn(); return nil }
			},
			"Close": func(c *oddConn) {
				c.close = func() error { _ = c.Conn.Close(); fn(); return nil }
			},
		} {
			t.Run(how+" in "+where, func(t *testing.T) {
				conn, peer := odd()
				set(conn)
				l := evnet.NewLoop()
				s := wrap(l, conn)
				consume(s)
				_, _ = s.WriteString("x")
				l.Post(func() { s.Pause(); s.Resume() })
				closes := 0
				s.On.Close(func(bool) { closes++ })
				other, friend := net.Pipe()
				aside(l, func() { // which is served all the same
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

// A conn that holds a lock of its own while it reads, which its other methods want too, holds nobody
// else up.
func TestNonConforming_Locks(t *testing.T) {
	conn, peer := odd()
	var mu sync.Mutex
	conn.read = func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return conn.Conn.Read(p) }
	conn.deadline = func(d time.Time) error { mu.Lock(); defer mu.Unlock(); return conn.Conn.SetReadDeadline(d) }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	got := ""
	s.On.Data(func(p []byte) { got += string(p) })
	paused := make(chan struct{})
	l.AfterFunc(time.Millisecond, func() { // when it is in Read
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

// A Close that takes its time, or a Read that does not heed it, delays Run's return, and nothing else.
func TestNonConforming_CloseIsSlow(t *testing.T) {
	conn, peer := odd()
	released := make(chan struct{})
	conn.close = func() error { <-released; return conn.Conn.Close() }
	conn.read = func(p []byte) (int, error) { <-released; return 0, io.EOF }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	consume(s)
	s.On.Close(func(bool) { // comes while Close is still under way
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
