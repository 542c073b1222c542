package evnet

import (
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"

	"evnet/internal/transport"
)

// pipe is one destination of one source.
type pipe struct {
	src   *Socket
	dst   io.Writer
	sock  *Socket // dst, when it is a socket
	relay *relay  // that the pipe belongs to, nil if Pipe has made it

	splices atomic.Bool // sock accepts splice pipes, as far as is known

	blocked bool // dst needs to drain; guarded by src.mu
}

// Pipe writes everything the socket receives to dst, and makes it flow. When dst is a *Socket, its
// own pace holds this socket back (with several destinations the slowest one does), it may run on
// another loop, and it is ended when this socket's peer ends, or has ended already. Any other writer
// is called on the loop, must not block for long, and is left open: close it in On.End. dst may be
// the socket itself: an echo.
//
// Pipe stops when dst has finished, failed or closed, and when writing to it fails; this socket is
// then as Unpipe leaves it, if it was the last destination, and neither ended nor destroyed. A failure of this
// socket does not end dst. A nil dst is logged and otherwise ignored, and so is any while OnRead, Scan,
// Chunks or BlockingConn is the consumer; Data listeners share. Node: socket.pipe.
func (s *Socket) Pipe(dst io.Writer) {
	if dst == nil {
		if r, ok := s.set.recordTo(slog.Default(), slog.LevelWarn); ok {
			r.Write(nilArgument("Socket.Pipe", "writer").Error())
		}
		return
	}
	l := &pipe{src: s, dst: dst}
	l.sock, _ = dst.(*Socket)
	s.link(l)
}

// link adds a destination and lets the data flow.
func (s *Socket) link(l *pipe) {
	s.mu.Lock()
	if l.relay != nil && s.destroyed { // the next connection has nothing to do with it
		s.mu.Unlock()
		return
	}
	if err := s.consumed("Pipe"); err != nil {
		s.mu.Unlock()
		if r, ok := s.set.record(slog.LevelWarn); ok {
			r.Write(err.Error())
		}
		return
	}
	s.in.own()
	s.in.pipes = append(slices.Clip(s.in.pipes), l)
	if l.relay != nil {
		s.in.joining = false
	}
	over := s.in.ended && (l.relay != nil || !s.destroyed) // a destroyed one may connect again
	s.mu.Unlock()
	if l.sock != nil {
		l.sock.mu.Lock()
		gone := l.sock.destroyed
		if !gone {
			r := l.sock.makeOpt()
			r.sources = append(r.sources, l)
		}
		l.sock.mu.Unlock()
		if gone {
			s.unpipe(l)
			return
		}
		l.checkRoom()
	}
	switch {
	case over && l.relay != nil:
		l.end()
	case over:
		s.loop().Post(func() { // what this callback still writes to dst comes before its end
			if slices.Contains(s.pipes(), l) {
				l.end()
			}
		})
	default:
		s.Resume()
	}
}

// Unpipe undoes one Pipe to dst, or all of them for nil. When none is left the socket is paused until
// Resume; it reads one chunk ahead and holds it, and while it holds none the peer's end is noticed. It leaves
// Relay alone. Node: socket.unpipe.
func (s *Socket) Unpipe(dst io.Writer) {
	for _, l := range s.pipes() {
		if l.relay == nil && (dst == nil || sameWriter(l.dst, dst)) {
			s.unpipe(l)
			if dst != nil {
				return
			}
		}
	}
}

func (s *Socket) pipes() []*pipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.pipes
}

func sameWriter(a, b io.Writer) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

func (s *Socket) unpipe(l *pipe) {
	s.mu.Lock()
	n := len(s.in.pipes)
	if n > 0 {
		s.in.pipes = slices.DeleteFunc(slices.Clone(s.in.pipes), func(x *pipe) bool { return x == l })
	}
	if len(s.in.pipes) < n {
		if l.blocked {
			l.blocked = false
			s.in.blocked--
		}
		if len(s.in.pipes) == 0 && s.in.mode != paused {
			s.in.mode = unpiped // a peer that sends nothing more is seen to end
		}
		s.scheduleFlow()
		s.updateReading()
	}
	s.mu.Unlock()
	if l.sock != nil {
		l.sock.mu.Lock()
		if r := l.sock.optional; r != nil {
			r.sources = slices.DeleteFunc(slices.Clone(r.sources), func(x *pipe) bool { return x == l })
		}
		l.sock.mu.Unlock()
	}
}

// write passes one borrowed chunk on.
func (l *pipe) write(p []byte) {
	n, err := 0, error(nil)
	if l.sock != nil {
		n, err = l.sock.write(p, nil, true)
	} else {
		n, err = l.dst.Write(p)
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.failed(err)
		return
	}
	l.checkRoom()
}

// failed is told that dst has refused what the source has read.
func (l *pipe) failed(err error) {
	if l.relay != nil {
		if !errors.Is(err, ErrDestroyed) { // which the relay is told itself
			l.relay.writeFailed(err)
		}
		return
	}
	if !errors.Is(err, ErrWriteAfterEnd) && !errors.Is(err, ErrDestroyed) { // those are told by dst's events
		if r, ok := l.src.set.record(slog.LevelWarn); ok {
			r.Write("evnet: writing to a destination of Pipe failed", "err", err)
		}
	}
	l.src.unpipe(l)
}

// checkRoom holds the source back while the destination needs to drain.
func (l *pipe) checkRoom() {
	if l.sock == nil {
		return
	}
	full, splices := l.sock.room()
	l.splices.Store(splices)
	if full {
		l.hold(l.sock.NeedDrain)
	}
}

// hold holds the source back as long as full says so, until drained.
func (l *pipe) hold(full func() bool) {
	l.src.mu.Lock()
	if !l.blocked && slices.Contains(l.src.in.pipes, l) {
		l.blocked = true
		l.src.in.blocked++
		l.src.updateReading()
	}
	l.src.mu.Unlock()
	if !full() { // it drained meanwhile, on a loop of its own
		l.drained()
	}
}

func (l *pipe) drained() {
	l.src.mu.Lock()
	defer l.src.mu.Unlock()
	if l.blocked {
		l.blocked = false
		l.src.in.blocked--
		l.src.scheduleFlow()
	}
}

// end passes the end of the source on.
func (l *pipe) end() {
	if l.sock != nil {
		l.sock.End()
	}
	l.src.unpipe(l)
}

// drainPipes lets the sources of s go on.
func (s *Socket) drainPipes() {
	for _, l := range s.pipeSources() {
		l.drained()
	}
}

// leavePipes takes s out of its sources' destinations, and, when it is destroyed, out of its
// destinations' sources. A Relay is left by the destroyed alone: until then its source goes on, and
// fails if more comes.
func (s *Socket) leavePipes() {
	destroyed := s.Destroyed()
	for _, l := range s.pipeSources() {
		if destroyed || l.relay == nil {
			l.src.unpipe(l)
		}
	}
	if destroyed {
		for _, l := range s.pipes() {
			s.unpipe(l)
		}
	}
}

func (s *Socket) pipeSources() []*pipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().sources
}

// Pipe between two sockets that the kernel can join, and that nobody else listens to, moves a stream through a pipe of
// the kernel.

// splices reports whether what is received next may go to the destination of a Pipe without being read. s.mu is held.
func (s *Socket) splices() bool {
	in := &s.in
	return s.stream.Splices() && len(in.pipes) == 1 && in.pipes[0].sock != nil && in.pipes[0].splices.Load() &&
		in.canDeliver() && in.buffered() == 0 && in.onRead == nil && in.decoder == nil &&
		!s.set.Loop.tracing() && s.events.count(kindData) == 0
}

// writePipe passes the bytes of a splice pipe on.
func (l *pipe) writePipe(r *transport.Report) {
	held, err := l.sock.writePipe(r)
	if err != nil {
		l.failed(err)
		return
	}
	if held {
		l.hold(l.sock.holdsPipe)
	}
	l.checkRoom()
}

// writePipe is Write of the bytes in a splice pipe, which the stream owns from then on. held reports whether some of
// them stay in the pipe.
func (s *Socket) writePipe(r *transport.Report) (held bool, err error) {
	s.mu.Lock()
	if err := s.writeError(false); err != nil { // MaxWriteBuffer does not count: the bytes were read already
		s.mu.Unlock()
		r.Pipes.Discard(r.Pipe)
		return false, err
	}
	if s.stream.Queued() == 0 {
		s.noteCompleted()
	}
	sent, err := s.stream.SendPipe(r.Pipe, r.Pipes, s.maySendNow())
	if err == nil && s.stream.IsOpen() {
		err = s.afterWriting(sent, nil)
	}
	if err != nil {
		e := s.writeFailedLocked(err, false)
		s.mu.Unlock()
		e.run()
		return false, nil // its events report it
	}
	held = s.stream.HoldsPipe()
	s.out.splicePending = s.out.splicePending || held
	if s.exceeds(s.highWaterMark()) {
		s.out.needDrain = true
	}
	s.mu.Unlock()
	return held, nil
}

// room reports to the source of a Pipe: NeedDrain, and whether the socket accepts splice pipes.
func (s *Socket) room() (full, splices bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.needsDrain(), s.stream.TakesPipes()
}

// holdsPipe reports whether a splice pipe with bytes in it waits to be sent.
func (s *Socket) holdsPipe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.splicePending
}
