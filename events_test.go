package evnet_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEventsOrderOfRegistration(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.Feed(l, "1", "2")
	s.On.Data(got.Chunk("a"))
	s.Once.Data(got.Chunk("once"))
	s.On.Data(got.Chunk("b"))
	s.Prepend.Data(got.Chunk("first"))
	same := got.Chunk("same")
	s.On.Data(same)
	off := s.On.Data(same)
	s.Once.End(func() { off.Off() }) // of two registrations of one function, it removes its own
	assert.Equal(t, 6, s.ListenerCount(evnet.EventData))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{
		"first1", "a1", "once1", "b1", "same1", "same1",
		"first2", "a2", "b2", "same2", "same2",
	}, got)
	assert.Equal(t, 4, s.ListenerCount(evnet.EventData))
	assert.Zero(t, s.ListenerCount(evnet.EventEnd), "a one-time listener that ran is removed")
}

func TestEventsAddedDuringAnEmit(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.Feed(l, "1", "2")
	s.Once.Data(func([]byte) {
		s.On.Data(got.Chunk("new"))
		s.Prepend.Data(got.Chunk("newest"))
		s.Once.Data(got.Chunk("once"))
	})
	s.On.Data(got.Chunk("old"))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"old1", "newest2", "old2", "new2", "once2"}, got)
}

func TestEventsOffDuringAnEmit(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.Feed(l, "1", "2")
	var earlier, self, once, later, other evnet.Listener
	earlier = s.On.Data(got.Chunk("earlier"))
	self = s.On.Data(func(p []byte) {
		got.Chunk("self")(p)
		self.Off()
		self.Off() // safe twice
		earlier.Off()
		once.Off()
		later.Off()
		done := make(chan struct{})
		go func() { defer close(done); other.Off(); earlier.Off() }()
		evtest.WaitFor(t, "Off", done)
	})
	once = s.Once.Data(got.Chunk("once"))
	later = s.On.Data(got.Chunk("later"))
	other = s.On.Data(got.Chunk("other"))
	s.On.Data(got.Chunk("last"))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"earlier1", "self1", "last1", "last2"}, got)
	assert.NotPanics(t, evnet.Listener{}.Off, "the zero Listener is already removed")
}

// Off races with emits, with other registrations and with itself.
func TestEventsOffFromManyGoroutines(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, strings.Split(strings.Repeat("x", 200), "")...)
	s.Resume()
	done := make(chan struct{}, 8)
	for range 8 {
		go func() {
			for range 200 {
				off := s.On.Data(func([]byte) {})
				go off.Off()
				off.Off()
				_ = s.ListenerCount(evnet.EventData)
				s.Resume() // removing the last listener stops the flow
			}
			done <- struct{}{}
		}()
	}
	l.Ref()
	go func() {
		for range 8 {
			<-done
		}
		l.Unref()
	}()
	kit.Run(t, l)
	assert.Zero(t, s.ListenerCount(evnet.EventData))
	assert.EqualValues(t, 200, s.BytesRead())
}

func TestEventsOnceIsOnce(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.Feed(l, "1", "2", "3")
	s.Once.Data(func(p []byte) {
		got.Chunk("once")(p)
		assert.Equal(t, 1, s.ListenerCount(evnet.EventData), "it is removed before it is called")
	})
	s.On.Data(got.Chunk("on"))
	off := s.Once.End(got.Say("never"))
	off.Off()
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"once1", "on1", "on2", "on3"}, got)
}

func TestEventsRemoveAllListeners(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	s := kit.Feed(l, "1")
	s.On.Data(got.Chunk("data"))
	s.On.End(got.Say("end"))
	off := s.On.End(got.Say("end"))
	s.On.Close(func(bool) { got.Say("close")() })
	s.RemoveAllListeners(evnet.EventEnd, "no event")
	off.Off() // it is already removed
	assert.Zero(t, s.ListenerCount(evnet.EventEnd))
	assert.Equal(t, 1, s.ListenerCount(evnet.EventData))
	assert.Zero(t, s.ListenerCount("no event"))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"data1", "close"}, got)

	s.RemoveAllListeners()
	assert.Zero(t, s.ListenerCount(evnet.EventData)+s.ListenerCount(evnet.EventClose))
	kit.NewClient(l).RemoveAllListeners() // a socket that never had any
}

func TestEventsRemoveAllListenersDuringAnEmit(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	server.On.Listening(func() {
		got.Say("listening")()
		server.RemoveAllListeners()
		_ = server.Close(got.Say("closed"))
	})
	server.On.Listening(got.Say("never"))
	server.On.Close(got.Say("never"))
	assert.Equal(t, 2, server.ListenerCount(evnet.EventListening))
	assert.Zero(t, server.ListenerCount(evnet.EventData), "servers have no such event")
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	s := kit.Feed(l, "1", "2")
	s.On.Data(func([]byte) {
		got.Say("data")()
		s.RemoveAllListeners(evnet.EventData)
		s.On.Data(got.Chunk("next"))
	})
	s.On.Data(got.Chunk("never"))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"listening", "closed", "data", "next2"}, got)
}

// Queued data is sent, and the end after it, whichever listeners there are.
func TestEventsSocketWorksWithoutListeners(t *testing.T) {
	const size = 16 << 20 // more than the kernel accepts in one write
	l := evnet.NewLoop()
	got, ended := 0, false
	kit.Meet(t, l, func(s *evnet.Socket) {
		_, _ = s.Write(make([]byte, size))
		s.End()
		s.RemoveAllListeners()
		assert.NotZero(t, s.BufferedAmount())
	}, func(s *evnet.Socket) {
		s.On.Data(func(p []byte) { got += len(p) })
		s.On.End(func() { ended = true })
	})
	kit.Run(t, l)
	assert.Equal(t, size, got)
	assert.True(t, ended)
}

// The blocking methods must not wait for listeners that a user can remove.
func TestEventsBlockingMethodsWorkWithoutListeners(t *testing.T) {
	const size = 16 << 20
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, nil)
	server.On.Connection(func(s *evnet.Socket) {
		l.Ref()
		go func() {
			defer l.Unref()
			defer s.Close()
			done := make(chan error, 1)
			go func() { // the peer does not read yet, so this blocks until Drain
				_, err := s.ReadFrom(bytes.NewReader(make([]byte, size)))
				done <- err
			}()
			select {
			case err := <-done:
				assert.NoError(t, err)
			case <-time.After(evtest.Patience / 6):
				t.Error("ReadFrom never returns")
			}
		}()
	})
	got := 0
	c := kit.NewClient(l)
	c.Pause()
	c.On.Data(func(p []byte) { got += len(p) })
	c.Connect("tcp", addr)
	var wait func()
	wait = func() {
		for _, s := range server.Sockets() {
			if s.NeedDrain() {
				s.RemoveAllListeners()
				c.Resume()
				_ = server.Close(nil)
				return
			}
		}
		l.Post(wait)
	}
	wait()
	kit.Run(t, l)
	assert.Equal(t, size, got)
}

// Every registration method of On, Once and Prepend refuses nil with an error.
func TestEventsNilCallbacks(t *testing.T) {
	l := evnet.NewLoop()
	socket, server := kit.NewClient(l), evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	views := []any{socket.On, socket.Once, socket.Prepend, server.On, server.Once, server.Prepend}
	registrars := 0
	for _, view := range views {
		v := reflect.ValueOf(view)
		for i := range v.NumMethod() {
			registrars++
			name := v.Type().Method(i).Name
			event := evnet.Event(strings.ToLower(name[:1]) + name[1:])
			if name == "TLSClientError" {
				event = evnet.EventTLSClientError
			}
			fn := v.Method(i).Type().In(0)
			count := socket.ListenerCount
			if v.Type() == reflect.TypeFor[evnet.ServerEvents]() {
				count = server.ListenerCount
			}
			listener := v.Method(i).Call([]reflect.Value{reflect.Zero(fn)})[0].Interface().(evnet.Listener)
			assert.ErrorIs(t, listener.Err(), evnet.ErrNilArgument, name)
			assert.Zero(t, count(event), name)
			assert.NotPanics(t, listener.Off)

			// Each accepts a function, under the event's name.
			noop := reflect.MakeFunc(fn, func([]reflect.Value) []reflect.Value { return nil })
			listener = v.Method(i).Call([]reflect.Value{noop})[0].Interface().(evnet.Listener)
			assert.NoError(t, listener.Err(), name)
			assert.Equal(t, 1, count(event), "%s", event)
			listener.Off()
			assert.Zero(t, count(event), name)
		}
	}
	assert.Equal(t, 3*14+3*6, registrars)
	kit.Run(t, l)
}

// Removing the last Data listener stops the flow. Data received afterwards goes to the next listener.
func TestEventsLastDataListenerPauses(t *testing.T) {
	leave := map[string]func(*evnet.Socket, evnet.Listener){
		"Off":                     func(_ *evnet.Socket, on evnet.Listener) { on.Off() },
		"RemoveAllListeners":      func(s *evnet.Socket, _ evnet.Listener) { s.RemoveAllListeners() },
		"RemoveAllListeners data": func(s *evnet.Socket, _ evnet.Listener) { s.RemoveAllListeners(evnet.EventData) },
		"Once":                    nil,
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			var got kit.Notes
			s := kit.Feed(l, "1", "2", "3", "4")
			next := func() {
				s.On.Data(got.Chunk("second"))
				s.On.End(got.Say("end"))
			}
			afterReadAhead := func() { // and once the socket has read ahead:
				var wait func()
				wait = func() {
					if s.ReadableLength() == 0 {
						l.Post(wait)
						return
					}
					assert.Equal(t, kit.Notes{"first1"}, got)
					next()
				}
				l.Post(wait)
			}
			if leave == nil {
				s.Once.Data(func(p []byte) { got.Chunk("first")(p); afterReadAhead() })
			} else {
				var on evnet.Listener
				on = s.On.Data(func(p []byte) { got.Chunk("first")(p); leave(s, on); afterReadAhead() })
			}
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"first1", "second2", "second3", "second4", "end"}, got)
		})
	}
}
