package transport

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipeWith returns a splice pipe that text has been moved into.
func pipeWith(t testing.TB, pipes *SplicePipes, text string) *netpoll.SplicePipe {
	here, there := tcpPair(t)
	_, err := there.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, there.Close())
	raw, err := here.SyscallConn()
	require.NoError(t, err)
	pipe := pipes.take()
	require.NotNil(t, pipe)
	for c := netpoll.NewCall(); pipe.Len() < len(text); {
		_, err := c.Fill(raw, pipe)
		require.NoError(t, err)
	}
	return pipe
}

// If a pipe can no longer be sent from, its bytes precede the bytes that are queued behind it.
func TestQueue_Pour(t *testing.T) {
	first, behind := strings.Repeat("first", 5_000), strings.Repeat("behind", 5_000)
	var pipes SplicePipes
	defer pipes.SetRunning(false)
	q := newQueue()
	q.activate()
	q.pipe, q.pipes = pipeWith(t, &pipes, first), &pipes
	q.added += int64(len(first))
	q.append([]byte(behind))
	q.pour()
	q.pour() // a second call has no effect
	assert.Nil(t, q.pipe)
	assert.Zero(t, pipes.used)
	assert.Equal(t, first+behind, contents(q))
	assert.Zero(t, q.length())
}

// A queue that is dropped discards its pipe.
func TestQueue_DropsAPipe(t *testing.T) {
	var pipes SplicePipes
	q := newQueue()
	q.activate()
	q.pipe, q.pipes = pipeWith(t, &pipes, "bytes"), &pipes
	q.added += 5
	q.drop()
	assert.Zero(t, pipes.used)
	assert.Empty(t, pipes.idle)
}

// Idle pipes are kept while the loop runs. There are MaxSplicePipes at most, and the last is scarce.
func TestSplicePipes(t *testing.T) {
	var p SplicePipes
	p.SetRunning(true)
	var taken []*netpoll.SplicePipe
	for range maxWaiting {
		taken = append(taken, p.take())
	}
	assert.False(t, p.areScarce())
	taken = append(taken, p.take())
	assert.True(t, p.areScarce())
	assert.Nil(t, p.take())
	for _, pipe := range taken {
		p.keep(pipe)
	}
	assert.Len(t, p.idle, MaxSplicePipes)
	assert.Same(t, taken[len(taken)-1], p.take(), "an idle one is used again")
	p.SetRunning(false)
	assert.Empty(t, p.idle)
	p.keep(taken[len(taken)-1])
	assert.Empty(t, p.idle, "the loop does not run")
	p.SetRunning(true)
	pipe := p.take()
	p.keep(pipe)
	assert.Len(t, p.idle, 1)
	p.SetRunning(false)
}

// Bulk is spliced from one stream to another. Bytes that the destination does not accept wait in the pipe.
func TestSplice(t *testing.T) {
	evtest.UseEpoll(t, true)
	l := newLoop(t)
	l.pipesOn = true
	from, fromPeer := evtest.SocketPair(t, syscall.SOCK_STREAM)
	to, toPeer := evtest.SocketPair(t, syscall.SOCK_STREAM)
	src, dst := own(l, from), own(l, to)
	const piece = 2 * bulk
	send := func() {
		_, err := fromPeer.Write(make([]byte, piece))
		require.NoError(t, err)
	}
	assert.False(t, src.stream.Splices(), "there was no bulk yet")
	src.do(func(s *Stream) { s.SetReading(true) })
	send()
	l.until(t, func() bool { return src.got.Len() == piece })
	assert.True(t, src.stream.Splices())
	filled := evtest.FillUp(t, to)

	before := Spliced.Load()
	send()
	l.until(t, func() bool { return len(src.pipes) > 0 })
	r := src.pipes[0]
	assert.EqualValues(t, piece, r.Pipe.Len())
	assert.EqualValues(t, piece, Spliced.Load()-before)
	dst.do(func(s *Stream) {
		flags, err := s.SendPipe(r.Pipe, r.Pipes, true)
		assert.NoError(t, err)
		assert.Zero(t, flags)
		assert.True(t, s.HoldsPipe())
		assert.Equal(t, piece, s.Queued())
		assert.False(t, s.MayWrite())
		s.Append([]byte("behind"))
	})
	got := make(chan int64)
	go func() {
		n, _ := io.CopyN(io.Discard, toPeer, int64(filled+piece))
		got <- n
		p := make([]byte, 6)
		_, _ = io.ReadFull(toPeer, p)
		assert.Equal(t, "behind", string(p))
		close(got)
	}()
	l.until(t, dst.is(func(s *Stream) bool { return s.Queued() == 0 && s.MayWrite() }))
	assert.EqualValues(t, filled+piece, <-got)
	<-got
	dst.do(func(s *Stream) {
		assert.False(t, s.HoldsPipe())
		assert.Equal(t, s.Accepted(), s.Completed())
	})
	assert.Len(t, l.pipes.idle, 1)
	assert.Contains(t, dst.flags, Moved|Completed)
}

// A pipe is copied if its bytes cannot be sent from it: to a stream of the goroutine driver, behind queued bytes, and while
// the owner does not send.
func TestSendPipe_Copies(t *testing.T) {
	evtest.UseEpoll(t, true)
	for name, test := range map[string]struct {
		canSend bool
		prepare func(s *Stream)
		sent    bool
	}{
		"held":   {false, func(s *Stream) { s.Hold() }, false},
		"queued": {true, func(s *Stream) { s.Hold(); s.Append([]byte("queued ")) }, true},
		"full":   {true, func(s *Stream) { s.writing = true; s.Hold() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
			o := own(l, here)
			pipe := pipeWith(t, &l.pipes, "piped")
			o.do(func(s *Stream) {
				test.prepare(s)
				_, err := s.SendPipe(pipe, &l.pipes, test.canSend)
				assert.NoError(t, err)
				assert.False(t, s.HoldsPipe())
				if test.sent {
					assert.Zero(t, s.Queued())
				} else {
					assert.Equal(t, 5, s.Queued())
				}
				if test.canSend {
					assert.Equal(t, s.Queued(), s.Sendable(), "the owner allows it")
				} else {
					assert.Zero(t, s.Sendable())
				}
			})
			assert.Len(t, l.pipes.idle, 1)
			if test.sent {
				p := make([]byte, 12)
				_, err := io.ReadFull(there, p)
				require.NoError(t, err)
				assert.Equal(t, "queued piped", string(p))
			}
		})
	}
}

// A file is sent within the kernel if nothing is queued before it. The bytes that it sends count as completed.
func TestSendFile(t *testing.T) {
	evtest.UseEpoll(t, true)
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("contents")
	require.NoError(t, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	file, err := f.SyscallConn()
	require.NoError(t, err)

	l := newLoop(t)
	here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
	o := own(l, here)
	o.do(func(s *Stream) {
		s.Hold() // as in a callback that has written nothing yet
		n, _, ok, err := s.SendFile(file, 100)
		assert.Equal(t, 8, n)
		assert.True(t, ok)
		assert.NoError(t, err)
		assert.EqualValues(t, 8, s.Acked())
		assert.EqualValues(t, 8, s.Completed())
		n, ended, ok, err := s.SendFile(file, 100)
		assert.Zero(t, n)
		assert.True(t, ended)
		assert.True(t, ok)
		assert.NoError(t, err)

		s.Append([]byte("x"))
		_, _, ok, _ = s.SendFile(file, 100)
		assert.False(t, ok, "it would overtake queued bytes")
		s.Unhold()
		_, err = s.Flush()
		assert.NoError(t, err)
		evtest.FillUp(t, here)
		assert.True(t, s.AwaitRoom())
		assert.False(t, s.MayWrite())
		n, ended, ok, err = s.SendFile(file, 100)
		assert.Zero(t, n)
		assert.False(t, ended)
		assert.True(t, ok)
		assert.NoError(t, err)
	})
	go func() { _, _ = io.Copy(io.Discard, there) }()
	l.until(t, o.is(func(s *Stream) bool { return s.MayWrite() }))
	require.NoError(t, there.Close())
}
