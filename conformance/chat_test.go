package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const members = 50

// lines calls fn for each received line.
func lines(s *evnet.Socket, fn func(line string)) {
	var rest []byte
	s.On.Data(func(p []byte) {
		rest = append(rest, p...)
		for {
			line, more, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				return
			}
			fn(string(line))
			rest = more
		}
	})
}

// room is a chat room without a lock: it belongs to one loop. It sends a welcome when the last member has
// joined, and broadcasts each line.
type room struct {
	names map[*evnet.Socket]int
	said  int
}

func (r *room) join(s *evnet.Socket) {
	r.names[s] = len(r.names)
	if len(r.names) == members {
		r.broadcast("welcome")
	}
}

func (r *room) say(line string) { r.said++; r.broadcast(line) }

func (r *room) leave(s *evnet.Socket) { delete(r.names, s) }

func (r *room) broadcast(line string) {
	for s := range r.names {
		_, _ = s.WriteString(line + "\n")
	}
}

// visitRoom makes the members. Each sends a line after the welcome, and leaves when it has received all lines.
func visitRoom(t *testing.T, l *evnet.Loop, addr string, done func()) {
	want := []string{"welcome"}
	for i := range members {
		want = append(want, fmt.Sprintf("member %d", i))
	}
	slices.Sort(want)
	left := members
	for i := range members {
		s := kit.NewClient(l)
		received := map[string]bool{}
		lines(s, func(line string) {
			assert.False(t, received[line], "%q received twice", line)
			received[line] = true
			if line == "welcome" {
				_, _ = fmt.Fprintf(s, "member %d\n", i)
			}
			if len(received) == len(want) {
				s.End()
			}
		})
		s.On.Close(func(hadError bool) {
			assert.False(t, hadError)
			assert.Equal(t, want, slices.Sorted(maps.Keys(received)))
			if left--; left == 0 {
				done()
			}
		})
		s.Connect("tcp", addr)
	}
}

func TestChatOnOneLoop(t *testing.T) {
	l := evnet.NewLoop()
	r := &room{names: make(map[*evnet.Socket]int)}
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		r.join(s)
		lines(s, r.say)
		s.On.Close(func(bool) { r.leave(s) })
	})
	visitRoom(t, l, addr, func() { _ = server.Close(nil) })
	kit.Run(t, l)
	assert.Empty(t, r.names)
	assert.Equal(t, members, r.said)
}

func TestChatMembersOnAnotherLoop(t *testing.T) {
	l, away := evnet.NewLoop(), evnet.NewLoop()
	r := &room{names: make(map[*evnet.Socket]int)}
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		r.join(s)
		lines(s, r.say)
		s.On.Close(func(bool) { r.leave(s) })
	})
	visitRoom(t, away, addr, func() { _ = server.Close(nil) })
	var all sync.WaitGroup
	all.Go(func() { kit.Run(t, away) })
	kit.Run(t, l)
	all.Wait()
	assert.Empty(t, r.names)
	assert.Equal(t, members, r.said)
}

// The server's sockets belong to two loops. The room belongs to the first, which receives their lines by Post.
func TestChatOnTwoLoops(t *testing.T) {
	home, other, away := evnet.NewLoop(), evnet.NewLoop(), evnet.NewLoop()
	loops := []*evnet.Loop{home, other}
	r := &room{names: make(map[*evnet.Socket]int)}
	var mu sync.Mutex // used only by the test
	perLoop := map[*evnet.Loop]int{}
	server, addr := kit.Serve(t, home, &evnet.ServerOptions{Loops: loops}, func(s *evnet.Socket) {
		mu.Lock()
		perLoop[s.Loop()]++
		mu.Unlock()
		home.Post(func() { r.join(s) })
		lines(s, func(line string) { home.Post(func() { r.say(line) }) })
		s.On.Close(func(bool) { home.Post(func() { r.leave(s) }) })
	})
	visitRoom(t, away, addr, func() {})

	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, l := range loops {
		all.Go(func() { assert.ErrorIs(t, l.Serve(ctx), context.Canceled) })
	}
	kit.AwaitRunning(loops...)
	kit.Run(t, away)
	bound, stop := context.WithTimeout(context.Background(), evtest.Patience)
	defer stop()
	require.NoError(t, server.Shutdown(bound))
	cancel()
	all.Wait()
	kit.Run(t, home) // runs the last posted functions
	assert.Empty(t, r.names)
	assert.Equal(t, members, r.said)
	assert.Equal(t, map[*evnet.Loop]int{home: members / 2, other: members / 2}, perLoop)
}
