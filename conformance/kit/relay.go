package kit

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// Relayed is a relay between two peers of blocking code, and its result.
type Relayed struct {
	A, B         *evnet.Socket
	PeerA, PeerB net.Conn
	Done         []error
	Closes       int
}

func NewRelayed(t testing.TB, la, lb *evnet.Loop, pair func(testing.TB) (net.Conn, net.Conn)) *Relayed {
	r := &Relayed{}
	var mu sync.Mutex
	wrap := func(l *evnet.Loop) (*evnet.Socket, net.Conn) {
		here, there := pair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: slog.New(FailOnLog{T: t})})
		s.On.Close(func(bool) { mu.Lock(); r.Closes++; mu.Unlock() })
		return s, there
	}
	r.A, r.PeerA = wrap(la)
	r.B, r.PeerB = wrap(lb)
	evnet.Relay(r.A, r.B, func(err error) {
		mu.Lock()
		assert.Equal(t, 2, r.Closes, "done before Close")
		mu.Unlock()
		r.Done = append(r.Done, err)
	})
	return r
}

// FailOnLog is a slog handler that fails the test on each record.
type FailOnLog struct{ T testing.TB }

func (f FailOnLog) Enabled(context.Context, slog.Level) bool { return true }

func (f FailOnLog) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f FailOnLog) WithGroup(string) slog.Handler { return f }

func (f FailOnLog) Handle(_ context.Context, r slog.Record) error {
	f.T.Errorf("logged: %s", r.Message)
	return nil
}
