package evnet_test

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// oddConn does what net.Conn hardly allows, or allows and hardly anybody expects.
type oddConn struct {
	net.Conn
	eofWithData  bool // the last bytes and the end in one Read
	zeroReads    bool // now and then a Read of nothing, without an error
	shortWrites  bool // a part is written, without an error
	noDeadlines  bool // deadlines are refused, so that Read cannot be interrupted
	closeSlowly  time.Duration
	onRead       func(n int32)
	reads        atomic.Int32
	readAhead    []byte
	readAheadErr error
}

func (c *oddConn) Read(p []byte) (int, error) {
	n := c.reads.Add(1)
	if c.onRead != nil {
		c.onRead(n)
	}
	if c.zeroReads && n%2 == 0 {
		return 0, nil
	}
	if !c.eofWithData {
		return c.Conn.Read(p)
	}
	if c.readAhead == nil && c.readAheadErr == nil {
		c.readAhead, c.readAheadErr = io.ReadAll(c.Conn)
	}
	copied := copy(p, c.readAhead)
	if c.readAhead = c.readAhead[copied:]; len(c.readAhead) > 0 {
		return copied, nil
	}
	return copied, io.EOF
}

func (c *oddConn) Write(p []byte) (int, error) {
	if c.shortWrites {
		p = p[:min(len(p), 1000)]
	}
	return c.Conn.Write(p)
}

func (c *oddConn) SetReadDeadline(t time.Time) error {
	if c.noDeadlines {
		return errors.ErrUnsupported
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *oddConn) Close() error {
	time.Sleep(c.closeSlowly)
	return c.Conn.Close()
}

func TestAnyConnOdd(t *testing.T) {
	cases := map[string]*oddConn{
		"eof with data": {eofWithData: true},
		"zero reads":    {zeroReads: true},
		"short writes":  {shortWrites: true},
		"no deadlines":  {noDeadlines: true},
		"slow close":    {closeSlowly: 20 * time.Millisecond},
		"all":           {eofWithData: true, zeroReads: true, shortWrites: true, noDeadlines: true, closeSlowly: time.Millisecond},
	}
	for name, conn := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := net.Pipe()
			conn.Conn = here
			s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
			events := life(s)
			want := pattern(payload / 4)
			peer := make(chan []byte, 1)
			go func() { // hears all, then says all
				got := make([]byte, len(want))
				_, _ = io.ReadFull(there, got)
				_, _ = there.Write(want)
				_ = there.Close()
				peer <- got
			}()
			_, _ = s.Write(want)
			got := collect(s)
			resting := false
			s.On.Data(func([]byte) {
				assert.False(t, resting, "data while paused")
				resting = true
				s.Pause()
				l.Post(func() { resting = false; s.Resume() })
			})
			run(t, l)
			equalBytes(t, want, <-peer)
			equalBytes(t, want, got.Bytes())
			assert.Equal(t, notes{"end", "finish", "close false"}, *events)
			goleak.VerifyNone(t, before)
		})
	}
}

// A conn without deadlines may bring one chunk more after Pause. It is held, with what follows it,
// until Resume.
func TestAnyConnPausedWithoutDeadlines(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	conn := &oddConn{Conn: here, noDeadlines: true}
	s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
	var got notes
	paused := func() {
		s.Pause()
		s.On.Data(got.chunk(""))
		s.On.End(got.say("end"))
		go func() {
			_, _ = io.WriteString(there, "2") // taken by the Read that Pause could not interrupt
			var held func()
			held = func() {
				if s.ReadableLength() == 0 && len(got) == 1 {
					l.Post(held)
					return
				}
				assert.Equal(t, notes{"1"}, got, "data while paused")
				assert.Equal(t, 1, s.ReadableLength())
				s.Resume()
			}
			l.Post(held)
			_, _ = io.WriteString(there, "3")
			_ = there.Close()
		}()
	}
	s.Once.Data(got.chunk("")) // then the socket reads one chunk ahead
	conn.onRead = func(n int32) {
		if n == 2 {
			l.Post(paused)
		}
	}
	go func() { _, _ = io.WriteString(there, "1") }()
	run(t, l)
	assert.Equal(t, notes{"1", "2", "3", "end"}, got)
}

// Each failure is told once, data that came with it first.
func TestAnyConnFailures(t *testing.T) {
	cause := errors.New("the wire is cut")
	cases := map[string]struct {
		conn scripted
		want notes
		is   error
	}{
		"read":           {scripted{read: cause}, notes{"error ", "close true"}, cause},
		"data and error": {scripted{data: "tail", read: cause}, notes{"data tail", "error ", "close true"}, cause},
		"write":          {scripted{write: cause}, notes{"error ", "close true"}, cause},
		"write nothing":  {scripted{}, notes{"error ", "close true"}, io.ErrShortWrite},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			c.conn.Conn = here
			s := evnet.Wrap(&c.conn, &evnet.SocketOptions{Loop: l})
			var got notes
			watch(s, &got)
			var told []error
			if c.conn.read == nil {
				s.WriteThen([]byte("lost"), func(err error) { told = append(told, err) })
			}
			run(t, l)
			assert.Equal(t, c.want, got)
			assert.ErrorIs(t, s.Err(), c.is)
			for _, err := range told {
				assert.ErrorIs(t, err, c.is)
			}
			goleak.VerifyNone(t, before)
		})
	}
}

// scripted is a conn that fails: reading with data and read, unless read is nil, writing with write.
type scripted struct {
	net.Conn
	data        string
	read, write error
}

func (c *scripted) Read(p []byte) (int, error) {
	if c.read == nil {
		return c.Conn.Read(p)
	}
	return copy(p, c.data), c.read
}

func (c *scripted) Write([]byte) (int, error) { return 0, c.write }

// A writer that is stuck in the conn holds up neither the loop nor Destroy.
func TestAnyConnDestroyWhileStuck(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	events := life(s)
	var told error
	s.WriteThen(pattern(payload), func(err error) { told = err })
	l.AfterFunc(time.Millisecond, func() { s.Destroy(nil) })
	run(t, l)
	assert.Equal(t, notes{"close false"}, *events)
	assert.ErrorIs(t, told, evnet.ErrDestroyed)
	goleak.VerifyNone(t, before)
}

// End waits for its bytes, and Close does not wait for the peer's end.
func TestAnyConnCloseFlushes(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	want := pattern(payload)
	_, _ = s.Write(want)
	_ = s.Close()
	peer := make(chan []byte, 1)
	go func() {
		got, _ := io.ReadAll(there)
		peer <- got
	}()
	closed := false
	s.On.Close(func(hadError bool) { closed = true; assert.False(t, hadError) })
	run(t, l)
	equalBytes(t, want, <-peer)
	assert.True(t, closed)
	goleak.VerifyNone(t, before)
}
