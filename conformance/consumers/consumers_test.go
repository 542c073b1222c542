package consumers_test

import (
	"io"
	"log/slog"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// consumers are the ways to consume a socket. Each is called off the loop and returns why it was refused.
var consumers = map[string]func(s *evnet.Socket) error{
	"On.Data": func(s *evnet.Socket) error { return s.On.Data(func([]byte) {}).Err() },
	"Pipe": func(s *evnet.Socket) error {
		s.Pipe(io.Discard) // Pipe has no result: see TestConsumersPipeLogs
		return nil
	},
	"OnRead": func(s *evnet.Socket) error { return s.OnRead(func([]byte) bool { return true }) },
	"Scan":   func(s *evnet.Socket) error { return s.Scan(nil, 0, func([]byte) {}) },
	"Chunks": func(s *evnet.Socket) error {
		for _, err := range s.Chunks() {
			return err
		}
		return nil
	},
	"BlockingConn": func(s *evnet.Socket) error { _, err := s.BlockingConn(); return err },
}

func TestConsumersExclude(t *testing.T) {
	alone := map[string]bool{"OnRead": true, "Scan": true, "Chunks": true, "BlockingConn": true}
	for first := range consumers {
		for second := range consumers {
			if second == "Pipe" || first == second && first != "Chunks" && first != "BlockingConn" {
				continue
			}
			t.Run(first+" then "+second, func(t *testing.T) {
				l := evnet.NewLoop()
				s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
				check := func() {
					if !alone[first] && !alone[second] {
						assert.NoError(t, consumers[second](s))
						return
					}
					before := s.ListenerCount(evnet.EventData)
					kit.BadInput{Err: consumers[second](s), Is: []error{evnet.ErrConsumed}, Code: "ERR_INVALID_STATE",
						Says: []string{first, second, "peer pipe"}}.Check(t)
					assert.Equal(t, before, s.ListenerCount(evnet.EventData))
					assert.False(t, s.Destroyed(), "a refusal does not destroy the socket")
				}
				kit.Aside(l, func() {
					if first != "Chunks" {
						assert.NoError(t, consumers[first](s))
						check()
						s.Destroy(nil)
						return
					}
					go func() { _, _ = io.WriteString(peer, "x") }()
					for _, err := range s.Chunks() {
						if err == nil {
							check()
							s.Destroy(nil)
						}
					}
				})
				kit.Run(t, l)
			})
		}
	}
}

// An exclusive consumer may replace itself, and any other consumer once that is removed.
func TestConsumersReplace(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one\ntwo\n")
	var got kit.Notes
	line := func(what string) func([]byte) bool {
		return func(p []byte) bool { got = append(got, what+string(p)); return true }
	}
	require.NoError(t, s.OnRead(line("first ")))
	require.NoError(t, s.OnRead(line("second ")))
	require.NoError(t, s.OnRead(nil))
	require.NoError(t, s.Scan(nil, 0, got.Chunk("third ")))
	require.NoError(t, s.Scan(nil, 0, got.Chunk("scan ")))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"scan one", "scan two"}, got)
}

// A consumer may replace itself by another inside its callback. The other gets all remaining data.
func TestConsumersChangeInside(t *testing.T) {
	t.Run("once, then scan", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.Feed(l, "one\n", "two\n")
		var got kit.Notes
		s.Once.Data(func(p []byte) {
			got = append(got, string(p))
			assert.NoError(t, s.Scan(nil, 0, got.Chunk("scan ")))
		})
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"one\n", "scan two"}, got)
	})
	t.Run("onread, then data", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.Feed(l, "one", "two")
		var got kit.Notes
		require.NoError(t, s.OnRead(func(p []byte) bool {
			got = append(got, string(p))
			assert.NoError(t, s.Unshift(p))
			assert.NoError(t, s.OnRead(nil))
			assert.NoError(t, s.On.Data(got.Chunk("data ")).Err())
			return true
		}))
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"one", "data one", "data two"}, got)
	})
	t.Run("data, then onread", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.Feed(l, "one", "two")
		var got kit.Notes
		var data evnet.Listener
		data = s.On.Data(func(p []byte) {
			got = append(got, string(p))
			assert.ErrorIs(t, s.OnRead(func([]byte) bool { return true }), evnet.ErrConsumed)
			data.Off()
			assert.NoError(t, s.OnRead(func(p []byte) bool { got = append(got, "read "+string(p)); return true }))
		})
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"one", "read two"}, got)
	})
}

// Pipe has no result. A refused Pipe logs, as for a nil writer, and does nothing.
func TestConsumersPipeLogs(t *testing.T) {
	for name, first := range consumers {
		if name == "On.Data" || name == "Pipe" || name == "Chunks" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			log := &evtest.Records{}
			l := evnet.NewLoop()
			s, _ := kit.WrapPipe(l, evnet.SocketOptions{Logger: slog.New(log)})
			require.NoError(t, first(s))
			s.Pause()
			s.Pipe(io.Discard)
			require.Len(t, log.List, 1)
			assert.Contains(t, log.List[0].Message, name)
			assert.True(t, s.Paused(), "Pipe had no effect")
			s.Destroy(nil)
			kit.Run(t, l)
		})
	}
}
