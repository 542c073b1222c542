package kit

import (
	"bytes"
	"fmt"

	"evnet"
)

// Collect gathers what s receives.
func Collect(s *evnet.Socket) *bytes.Buffer {
	var got bytes.Buffer
	s.On.Data(func(p []byte) { got.Write(p) })
	return &got
}

// NoteLife notes the events of s except Data, which may arrive in any number of pieces.
func NoteLife(s *evnet.Socket) *Notes {
	var got Notes
	NoteEvents(s, &got)
	s.RemoveAllListeners(evnet.EventData, evnet.EventDrain)
	return &got
}

// NoteEvents notes every event of s with its arguments.
func NoteEvents(s *evnet.Socket, got *Notes) {
	note := func(format string, args ...any) { *got = append(*got, fmt.Sprintf(format, args...)) }
	s.On.Lookup(func(l evnet.Lookup) { note("lookup %v %s %d %s", l.Err, l.Address, l.Family, l.Host) })
	s.On.ConnectionAttempt(func(a evnet.Attempt) { note("attempt %s %s %d", a.Network, a.Address, a.Family) })
	s.On.ConnectionAttemptFailed(func(a evnet.Attempt, err error) {
		note("failed %s %s %d %s", a.Network, a.Address, a.Family, evnet.Code(err))
	})
	s.On.ConnectionAttemptTimeout(func(a evnet.Attempt) { note("slow %s %s %d", a.Network, a.Address, a.Family) })
	s.On.Connect(got.Say("connect"))
	s.On.Ready(got.Say("ready"))
	s.On.SecureConnect(got.Say("secureConnect"))
	s.On.Data(got.Chunk("data "))
	s.On.Drain(got.Say("drain"))
	s.On.End(got.Say("end"))
	s.On.Finish(got.Say("finish"))
	s.On.Timeout(got.Say("timeout"))
	s.On.Error(func(err error) { note("error %s", evnet.Code(err)) })
	s.On.Close(func(hadError bool) { note("close %v", hadError) })
}

// Notes collects the notes of callbacks, in order.
type Notes []string

func (n *Notes) Say(what string) func() { return func() { *n = append(*n, what) } }

func (n *Notes) Chunk(what string) func([]byte) {
	return func(p []byte) { *n = append(*n, what+string(p)) }
}
