package consumers_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// mixed is one socket whose consumers keep changing, while it is paused and resumed, and while delivered bytes
// are put back. Its fields belong to the loop, except those under mu.
type mixed struct {
	l    *evnet.Loop
	s    *evnet.Socket
	ops  []mixedOp
	wait int // turns for which the next op has waited for a callback

	data   evnet.Listener
	on     bool         // there is a consumer on the loop
	ranges atomic.Int32 // over Chunks

	mu     sync.Mutex
	got    []byte // received by all consumers
	rest   []byte // returned by Detach and read from the conn afterwards, or received by Relay's other end
	failed string
}

type mixedOp struct {
	what   string
	n      int
	inside bool // run it in a callback, if one follows within a few turns
}

func (m *mixed) fail(why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = why
}

func (m *mixed) took(p []byte) {
	m.mu.Lock()
	m.got = append(m.got, p...)
	m.mu.Unlock()
}

// consumed handles a chunk for each consumer on the loop.
func (m *mixed) consumed(p []byte) {
	m.took(p)
	if len(m.ops) > 0 && m.ops[0].inside && m.ops[0].what != "chunks" { // OnRead might pause it
		m.next(len(p))
	}
}

func (m *mixed) Write(p []byte) (int, error) { m.consumed(p); return len(p), nil }

// drive runs one op in each turn of the loop.
func (m *mixed) drive() {
	if m.s.Destroyed() || len(m.ops) == 0 {
		return
	}
	if m.wait++; !m.ops[0].inside || m.wait > 20 {
		m.next(0)
	}
	m.l.AfterFunc(0, m.drive)
}

// next runs the next op. It may put back the last delivered bytes of got.
func (m *mixed) next(delivered int) {
	op := m.ops[0]
	m.ops, m.wait = m.ops[1:], 0
	switch op.what {
	case "none", "data", "onread", "scan", "scan lines", "chunks", "pipe", "pause", "blip":
		if m.ranges.Load() > 0 {
			return // they are refused, or would stop the range with no later Resume
		}
	}
	switch op.what {
	case "none":
		m.clear()
	case "data":
		m.clear()
		m.data = m.s.On.Data(m.consumed)
		m.on = m.data.Err() == nil
		m.resume()
	case "onread":
		m.clear()
		n := op.n
		m.on = nil == m.s.OnRead(func(p []byte) bool {
			m.consumed(p)
			if n++; n%3 == 0 {
				m.l.AfterFunc(0, m.resume)
			}
			return n%3 != 0
		})
		m.resume()
	case "scan lines":
		m.clear()
		m.on = nil == m.s.Scan(nil, 1<<20, func(line []byte) { m.consumed(append(line, '\n')) })
		m.resume()
	case "scan":
		m.clear()
		split := func(data []byte, atEOF bool) (int, []byte, error) {
			n := op.n
			switch {
			case len(data) == 0 || !atEOF && len(data) < n:
				return 0, nil, nil
			case len(data) < n:
				n = len(data)
			}
			return n, data[:n], nil
		}
		m.on = nil == m.s.Scan(split, 1<<20, m.consumed)
		m.resume()
	case "chunks":
		if m.clear(); !m.s.Paused() {
			m.ranges.Add(1)
			kit.Aside(m.l, func() {
				defer m.ranges.Add(-1)
				left := op.n % 5
				for p := range m.s.Chunks() { // nil with an error
					m.took(p)
					if left--; left < 0 {
						break
					}
				}
			})
		}
	case "pipe":
		m.clear()
		m.on = true
		m.s.Pipe(m)
	case "pause":
		m.s.Pause()
	case "resume":
		m.resume()
	case "blip":
		m.s.Pause()
		m.resume()
	case "encoding":
		_ = m.s.SetEncoding([]evnet.Encoding{evnet.UTF8, evnet.Latin1, evnet.ASCII}[op.n%3])
	case "unshift":
		if n := min(op.n, delivered); n > 0 {
			m.mu.Lock()
			back := m.got[len(m.got)-n:]
			if m.s.Unshift(back) == nil {
				m.got = m.got[:len(m.got)-n]
			}
			m.mu.Unlock()
		}
	case "destroy":
		m.s.Destroy(nil)
	case "reset":
		m.s.Reset()
	case "detach":
		m.detach()
	case "detach elsewhere":
		kit.Aside(m.l, m.detach)
	case "relay", "relay elsewhere":
		m.data.Off()
		m.s.Unpipe(nil)
		other, peer := net.Pipe()
		out := evnet.Wrap(other, &evnet.SocketOptions{Loop: m.l})
		kit.Aside(m.l, func() {
			if op.what != "relay" {
				evnet.Relay(m.s, out, nil)
			}
			m.blocking(peer)
		})
		if op.what == "relay" {
			evnet.Relay(m.s, out, nil)
		}
	case "end":
		m.settle()
	}
}

// clear removes all consumers.
func (m *mixed) clear() {
	m.on = false
	m.data.Off()
	_ = m.s.OnRead(nil)
	_ = m.s.Scan(nil, 0, nil)
	m.s.Unpipe(nil)
	if m.s.Paused() {
		m.data = m.s.On.Data(m.consumed) // so that no data is discarded
		m.s.Resume()
		m.data.Off()
	}
}

// resume resumes the socket unless that would discard data.
func (m *mixed) resume() {
	if m.on {
		m.s.Resume()
	}
}

// settle receives all remaining data up to the end.
func (m *mixed) settle() {
	if m.s.Destroyed() {
		return
	}
	if m.ranges.Load() > 0 {
		m.l.AfterFunc(0, m.settle)
		return
	}
	m.clear()
	m.on = true
	m.data = m.s.On.Data(m.consumed)
	m.s.Resume()
}

func (m *mixed) detach() {
	conn, rest, err := m.s.Detach()
	if err != nil {
		if code := evnet.Code(err); code != evnet.Code(evnet.ErrWriteAfterEnd) && code != evnet.Code(evnet.ErrDestroyed) {
			m.fail(err.Error())
			m.s.Destroy(nil)
		}
		return // the socket has already ended
	}
	m.mu.Lock()
	m.rest = rest
	m.mu.Unlock()
	kit.Aside(m.l, func() { m.blocking(conn) })
}

// blocking reads the conn to its end.
func (m *mixed) blocking(conn net.Conn) {
	more, err := io.ReadAll(conn)
	if err != nil {
		m.fail(err.Error())
	}
	m.mu.Lock()
	m.rest = append(m.rest, more...)
	m.mu.Unlock()
	_ = conn.Close()
}

// With any sequence of consumers, each byte is delivered once and in order, Close is the last event, and Run
// returns with nothing open.
func TestMixedConsumers(t *testing.T) {
	before := goleak.IgnoreCurrent()
	kinds := []string{"tcp", "unix", "pipe"}
	middle := []string{"none", "data", "onread", "scan", "scan lines", "chunks", "pipe", "pause", "resume", "blip", "unshift", "unshift", "encoding"}
	finales := []string{"end", "end", "detach", "detach", "detach elsewhere", "relay", "relay elsewhere", "destroy", "reset"}
	op := func(of []string) *rapid.Generator[mixedOp] {
		return rapid.Custom(func(t *rapid.T) mixedOp {
			return mixedOp{rapid.SampledFrom(of).Draw(t, "what"), rapid.IntRange(1, 3000).Draw(t, "n"), rapid.Bool().Draw(t, "inside")}
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom(kinds).Draw(rt, "kind")
		here, there := evtest.ConnKinds[kind](t)
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 9000), rapid.IntRange(1, 150_000)), 0, 12).Draw(rt, "sizes")
		cut := kind == "tcp" && rapid.IntRange(0, 9).Draw(rt, "cut") == 0 // the peer resets
		m := &mixed{l: evnet.NewLoop()}
		m.ops = append(rapid.SliceOfN(op(middle), 0, 25).Draw(rt, "ops"), op(finales).Draw(rt, "finale"))
		finale := m.ops[len(m.ops)-1].what
		m.s = evnet.Wrap(here, &evnet.SocketOptions{Loop: m.l, Logger: slog.New(slog.DiscardHandler)})
		var events kit.Notes
		m.s.On.End(events.Say("end"))
		m.s.On.Error(func(error) { events.Say("error")() })
		m.s.On.Close(func(bool) { events.Say("close")() })
		var all []byte
		for i, n := range sizes {
			for range n {
				all = append(all, " \nabcdefghijklmnopqrstuvwxyz"[(len(all)*7+len(all)>>9+i)%28])
			}
		}
		if len(all) > 0 {
			all[len(all)-1] = '\n' // so that each line of Scan ends in a newline
		}
		kit.Aside(m.l, func() {
			sent := 0
			for _, n := range sizes {
				if _, err := there.Write(all[sent : sent+n]); err != nil {
					break
				}
				sent += n
			}
			c, half := there.(interface{ CloseWrite() error })
			switch {
			case cut:
				_ = there.(*net.TCPConn).SetLinger(0)
			case half:
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, there)
			}
			_ = there.Close()
		})
		m.l.Post(m.drive)
		kit.Run(t, m.l)

		m.mu.Lock()
		defer m.mu.Unlock()
		total := append(m.got, m.rest...)
		whole := !cut && finale != "destroy" && finale != "reset"
		if len(events) == 0 || events[len(events)-1] != "close" || len(events) > 2 {
			rt.Fatalf("events %v", events)
		}
		if m.failed != "" && !cut {
			rt.Fatalf("failed: %s", m.failed)
		}
		if !bytes.HasPrefix(all, total) || whole && len(total) != len(all) {
			at := 0
			for at < min(len(all), len(total)) && all[at] == total[at] {
				at++
			}
			rt.Fatalf("%d bytes of %d, alike up to %d; %d by Detach or Relay; err %v", len(total), len(all), at, len(m.rest), m.s.Err())
		}
	})
	goleak.VerifyNone(t, before)
}
