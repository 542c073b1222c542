package consumers_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
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

// Every consumer may change the bytes that it gets in place, and append to them. That changes no other data, neither
// the next token of the same chunk nor what is received or buffered.
func TestConsumers_ChunkMayBeChanged(t *testing.T) {
	const text = "one\ntwo\nthree\nfour\n"
	change := func(got *strings.Builder) func([]byte) {
		return func(p []byte) {
			got.Write(p)
			for i := range p {
				p[i] = '#'
			}
			_ = append(p, "#########"...)
		}
	}
	for name, consume := range map[string]func(l *evnet.Loop, s *evnet.Socket, fn func([]byte)){
		"On.Data": func(_ *evnet.Loop, s *evnet.Socket, fn func([]byte)) { s.On.Data(fn) },
		"OnRead": func(_ *evnet.Loop, s *evnet.Socket, fn func([]byte)) {
			_ = s.OnRead(func(p []byte) bool { fn(p); return true })
		},
		"Scan": func(_ *evnet.Loop, s *evnet.Socket, fn func([]byte)) {
			_ = s.Scan(scanWholeLines, 0, func(token []byte) {
				assert.Equal(t, len(token), cap(token), "append copies it")
				fn(token)
			})
		},
		"Chunks": func(l *evnet.Loop, s *evnet.Socket, fn func([]byte)) {
			kit.Aside(l, func() {
				for p, err := range s.Chunks() {
					assert.NoError(t, err)
					fn(p)
				}
			})
		},
	} {
		for encoding, set := range map[string]func(s *evnet.Socket){
			"bytes": func(*evnet.Socket) {},
			"text":  func(s *evnet.Socket) { require.NoError(t, s.SetEncoding(evnet.UTF8)) },
		} {
			for _, parts := range [][]string{{text}, {"on", "e\ntwo\nth", "ree\nfour\n"}} {
				t.Run(name+" "+encoding, func(t *testing.T) {
					evtest.OnBothTransports(t, func(t *testing.T) {
						l := evnet.NewLoop()
						here, there := evtest.UnixPair(t)
						s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
						set(s)
						require.NoError(t, s.Unshift([]byte("zero\n")))
						var got strings.Builder
						consume(l, s, change(&got))
						kit.Aside(l, func() {
							for _, p := range parts {
								_, err := io.WriteString(there, p)
								assert.NoError(t, err)
							}
							_ = there.Close()
						})
						kit.Run(t, l)
						assert.NoError(t, s.Err())
						assert.Equal(t, "zero\n"+text, got.String())
					})
				})
			}
		}
	}
}

// scanWholeLines is bufio.ScanLines with the line feeds.
func scanWholeLines(data []byte, _ bool) (int, []byte, error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// Several Data listeners get the same chunk: what one changes, the next one sees. Destinations of Pipe get the bytes as
// received.
func TestConsumers_ListenersShareAChunk(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "data")
	var got kit.Notes
	var piped strings.Builder
	s.On.Data(func(p []byte) { p[0] = 'D' })
	s.On.Data(got.Chunk(""))
	s.Pipe(&piped)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"Data"}, got)
	assert.Equal(t, "data", piped.String())
}
