package conns_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestAnyConnNonConforming(t *testing.T) {
	cases := map[string]*evtest.NonconformingConn{
		"eof with data": {EOFWithData: true},
		"zero reads":    {ZeroReads: true},
		"short writes":  {ShortWrites: true},
		"no deadlines":  {NoDeadlines: true},
		"slow close":    {CloseSlowly: 20 * time.Millisecond},
		"all":           {EOFWithData: true, ZeroReads: true, ShortWrites: true, NoDeadlines: true, CloseSlowly: time.Millisecond},
	}
	for name, conn := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := net.Pipe()
			conn.Conn = here
			s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
			events := kit.NoteLife(s)
			want := evtest.PatternBytes(payload / 4)
			peer := make(chan []byte, 1)
			go func() { // receives everything, then sends everything
				got := make([]byte, len(want))
				_, _ = io.ReadFull(there, got)
				_, _ = there.Write(want)
				_ = there.Close()
				peer <- got
			}()
			_, _ = s.Write(want)
			got := kit.Collect(s)
			resting := false
			s.On.Data(func([]byte) {
				assert.False(t, resting, "data while paused")
				resting = true
				s.Pause()
				l.Post(func() { resting = false; s.Resume() })
			})
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, want, <-peer)
			evtest.AssertEqualBytes(t, want, got.Bytes())
			assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
			goleak.VerifyNone(t, before)
		})
	}
}

// A conn without deadlines may read one more chunk after Pause. It is buffered, with all later data, until
// Resume.
func TestAnyConnPausedWithoutDeadlines(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	conn := &evtest.NonconformingConn{Conn: here, NoDeadlines: true}
	s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
	var got kit.Notes
	paused := func() {
		s.Pause()
		s.On.Data(got.Chunk(""))
		s.On.End(got.Say("end"))
		go func() {
			_, _ = io.WriteString(there, "2") // read by the Read that Pause could not interrupt
			var held func()
			held = func() {
				if s.ReadableLength() == 0 && len(got) == 1 {
					l.Post(held)
					return
				}
				assert.Equal(t, kit.Notes{"1"}, got, "data while paused")
				assert.Equal(t, 1, s.ReadableLength())
				s.Resume()
			}
			l.Post(held)
			_, _ = io.WriteString(there, "3")
			_ = there.Close()
		}()
	}
	s.Once.Data(got.Chunk("")) // then the socket reads one chunk ahead
	conn.OnRead = func(n int32) {
		if n == 2 {
			l.Post(paused)
		}
	}
	go func() { _, _ = io.WriteString(there, "1") }()
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"1", "2", "3", "end"}, got)
}

// Each failure is reported once, after the data read with it.
func TestAnyConnFailures(t *testing.T) {
	cause := errors.New("the wire is cut")
	cases := map[string]struct {
		conn scripted
		want kit.Notes
		is   error
	}{
		"read":           {scripted{read: cause}, kit.Notes{"error ", "close true"}, cause},
		"data and error": {scripted{data: "tail", read: cause}, kit.Notes{"data tail", "error ", "close true"}, cause},
		"write":          {scripted{write: cause}, kit.Notes{"error ", "close true"}, cause},
		"write nothing":  {scripted{}, kit.Notes{"error ", "close true"}, io.ErrShortWrite},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			c.conn.Conn = here
			s := evnet.Wrap(&c.conn, &evnet.SocketOptions{Loop: l})
			var got kit.Notes
			kit.NoteEvents(s, &got)
			var reported []error
			if c.conn.read == nil {
				s.WriteThen([]byte("lost"), func(err error) { reported = append(reported, err) })
			}
			kit.Run(t, l)
			assert.Equal(t, c.want, got)
			assert.ErrorIs(t, s.Err(), c.is)
			for _, err := range reported {
				assert.ErrorIs(t, err, c.is)
			}
			goleak.VerifyNone(t, before)
		})
	}
}

// scripted is a conn that fails. Read returns data and the error read, unless read is nil; Write returns write.
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

// A writer that is blocked in the conn does not block the loop or Destroy.
func TestAnyConnDestroyWhileStuck(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	events := kit.NoteLife(s)
	var reported error
	s.WriteThen(evtest.PatternBytes(payload), func(err error) { reported = err })
	l.AfterFunc(time.Millisecond, func() { s.Destroy(nil) })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"close false"}, *events)
	assert.ErrorIs(t, reported, evnet.ErrDestroyed)
	goleak.VerifyNone(t, before)
}

// End waits for its queued bytes, and Close does not wait for the peer's end.
func TestAnyConnCloseFlushes(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	want := evtest.PatternBytes(payload)
	_, _ = s.Write(want)
	_ = s.Close()
	peer := make(chan []byte, 1)
	go func() {
		got, _ := io.ReadAll(there)
		peer <- got
	}()
	closed := false
	s.On.Close(func(hadError bool) { closed = true; assert.False(t, hadError) })
	kit.Run(t, l)
	evtest.AssertEqualBytes(t, want, <-peer)
	assert.True(t, closed)
	goleak.VerifyNone(t, before)
}
