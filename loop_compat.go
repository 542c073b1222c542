package evnet

import (
	"evnet/internal/eventloop"
	"evnet/internal/ratelimit"
)

// The names by which other files of this package use their loop.

func (l *Loop) tick(fn func())                { l.core().Post(fn) }
func (l *Loop) event(fn func())               { l.core().Event(fn) }
func (l *Loop) close(fn func())               { l.core().AtTurnEnd(fn) }
func (l *Loop) yield(fn func())               { l.core().Yield(fn) }
func (l *Loop) spawn(fn func())               { l.core().Go(fn) }
func (l *Loop) expect() (done func())         { return l.core().Expect() }
func (l *Loop) here() bool                    { return l.core().OnLoop() }
func (l *Loop) inCallback() bool              { return l.core().InTask() }
func (l *Loop) flushLater(s *Socket)          { l.core().FlushLater((*handle)(s)) }
func (l *Loop) setOwner(s *Socket)            { l.core().SetOwner((*handle)(s)) }
func (l *Loop) count(more int)                { l.core().Count(more) }
func (l *Loop) isCrowded(quarters int64) bool { return l.core().IsCrowded(quarters) }
func (l *Loop) share() int                    { return l.core().Share() }
func (l *Loop) rateLimit() *ratelimit.Log     { return l.core().Log() }

func (l *Loop) addSocket(s *Socket, referenced bool) bool {
	return l.core().AddBuffering((*handle)(s), &s.member, referenced)
}

func (l *Loop) removeSocket(s *Socket)               { l.core().Remove(&s.member) }
func (l *Loop) refSocket(s *Socket, referenced bool) { l.core().SetRef(&s.member, referenced) }

// opened is something else than a connected socket that is open on a loop.
type opened interface {
	// in returns the handle, and its membership in l, nil if it has never been open.
	in(l *Loop) (eventloop.Handle, *eventloop.Member)
}

func (l *Loop) add(o opened, referenced bool) bool {
	h, m := o.in(l)
	return l.core().Add(h, m, referenced)
}

func (l *Loop) remove(o opened) {
	if _, m := o.in(l); m != nil {
		l.core().Remove(m)
	}
}

func (l *Loop) removeIfEnding(o opened) {
	if _, m := o.in(l); m != nil {
		l.core().RemoveIfEnding(m)
	}
}

func (l *Loop) setRef(o opened, referenced bool) {
	if _, m := o.in(l); m != nil {
		l.core().SetRef(m, referenced)
	}
}

func (s *Server) in(l *Loop) (eventloop.Handle, *eventloop.Member) {
	for i, set := range s.settings {
		if set.Loop == l {
			return (*serverHandle)(s), &s.members[i]
		}
	}
	return (*serverHandle)(s), nil
}

func (u unconnected) in(*Loop) (eventloop.Handle, *eventloop.Member) {
	if u.s.rarity == nil {
		return (*timerHandle)(u.s), nil
	}
	return (*timerHandle)(u.s), &u.s.rarity.timerMember
}

func (a awaiting) in(*Loop) (eventloop.Handle, *eventloop.Member) { return a, &a.c.member }

func contain(s *Socket, fn func() error, done func(error)) {
	eventloop.Contain((*handle)(s), fn, done)
}

// supply runs what the program has supplied on a goroutine, then done on the loop.
func (s *Socket) supply(fn func() error, done func(error)) {
	s.set.Loop.core().Offload((*handle)(s), fn, done)
}
