package conformance_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The state getters return Node's values at each stage of a socket's life.
func TestStateAlongALife(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.NewClient(l)
	note := func(when string) {
		got = append(got, fmt.Sprintf("%s pending=%v ended=%v,%v finished=%v closed=%v",
			when, s.Pending(), s.ReadableEnded(), s.WritableEnded(), s.WritableFinished(), s.Closed()))
	}
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { a.Resume() })
	note("created")
	s.Connect("tcp", addr)
	note("connecting")
	s.On.Connect(func() {
		note("connect")
		s.End()
		note("after End")
	})
	s.On.Finish(func() { note("finish") })
	s.On.End(func() { note("end") })
	s.On.Close(func(bool) { note("close"); _ = server.Close(nil) })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{
		"created pending=true ended=false,false finished=false closed=false",
		"connecting pending=true ended=false,false finished=false closed=false",
		"connect pending=false ended=false,false finished=false closed=false",
		"after End pending=false ended=false,true finished=false closed=false",
		"finish pending=false ended=false,true finished=true closed=false",
		"end pending=false ended=true,true finished=true closed=false",
		"close pending=true ended=true,true finished=true closed=true",
	}, got)
}

func TestStateDestroyed(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	assert.False(t, s.Pending())
	s.On.Error(func(error) { assert.True(t, s.Closed()) })
	s.Destroy(evtest.Boom("boom"))
	assert.True(t, s.Pending())
	assert.True(t, s.Closed(), "before Close is emitted")
	assert.False(t, s.WritableEnded())
	kit.Run(t, l)
	assert.False(t, s.ReadableEnded())
	assert.False(t, s.WritableFinished())
}

func TestStateCorked(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	s.Cork()
	s.Cork()
	assert.Equal(t, 2, s.Corked())
	s.Uncork()
	assert.Equal(t, 1, s.Corked())
	s.End() // also uncorks
	assert.Zero(t, s.Corked())
	_ = peer.Close()
	s.Resume()
	kit.Run(t, l)
}

func TestStateHighWaterMark(t *testing.T) {
	for set, want := range map[int]int{0: 64 << 10, 1000: 1000, -1: 0} {
		assert.Equal(t, want, evnet.NewSocket(&evnet.SocketOptions{HighWaterMark: set}).HighWaterMark())
	}
}

func TestStateFlowing(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	assert.False(t, s.Flowing(), "no consumer yet")
	data := s.On.Data(func([]byte) {})
	assert.True(t, s.Flowing())
	s.Pause()
	assert.False(t, s.Flowing())
	s.Resume()
	assert.True(t, s.Flowing())
	data.Off()
	assert.False(t, s.Flowing(), "received data is buffered")
	s.Resume()
	assert.True(t, s.Flowing(), "received data is discarded")
	s.Destroy(nil)
	kit.Run(t, l)
}

// A full destination of Pipe counts as a pause.
func TestStateFlowingBehindAFullPipe(t *testing.T) {
	l := evnet.NewLoop()
	s, source := kit.WrapPipe(l, evnet.SocketOptions{})
	full, _ := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
	s.Pipe(full)
	kit.Aside(l, func() { _, _ = io.WriteString(source, "much") })
	var look func()
	look = func() {
		if !full.NeedDrain() {
			l.AfterFunc(time.Millisecond, look)
			return
		}
		assert.False(t, s.Flowing())
		assert.True(t, s.Paused())
		full.Destroy(nil)
		s.Destroy(nil)
	}
	look()
	kit.Run(t, l)
}

// ReadableLength counts the incomplete message of Scan and the bytes of Unshift.
func TestStateReadableLength(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	require.NoError(t, s.Scan(nil, 0, func([]byte) {
		l.Post(func() {
			assert.Equal(t, len("unfinished"), s.ReadableLength())
			s.Pause()
			require.NoError(t, s.Unshift([]byte("put back ")))
			assert.Equal(t, len("put back unfinished"), s.ReadableLength())
			s.Destroy(nil)
		})
	}))
	kit.Aside(l, func() { _, _ = io.WriteString(peer, "token\nunfinished") })
	kit.Run(t, l)
}
