package evnet

import (
	"errors"
	"io"
	"log/slog"
	"net"
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
	relay *relay  // that the pipe belongs to; nil if Pipe has created it

	splices atomic.Bool // sock accepted splice pipes at the last check

	blocked bool // dst needs to drain; guarded by src.mu
}

// Pipe writes everything that the socket receives to dst, and starts the flow. It resumes a socket that
// was paused, by Pause or PauseOnConnect. Several destinations and Data listeners may share the data.
//
// If dst is a *Socket, this socket is held back to the pace of dst; with several destinations, to the
// pace of the slowest. dst may run on another loop. It is ended when this socket's peer ends, also if
// that has happened already. dst may be the socket itself: an echo.
//
// Any other writer is called on the loop and must not block for long. It is left open: close it in
// On.End. Do not hide a *Socket in such a writer to keep it open, because it then does not hold this socket
// back. Use ReadFrom of dst with the BlockingConn of this socket, or Data with Pause and Drain.
//
// If a write to such a writer fails and there is no other destination or Data listener, this socket fails:
// Error and Close follow. The error is a *net.OpError whose Op is "pipe", and wraps the writer's error. With
// other consumers, the failure is logged, and they continue.
//
// Pipe also stops when dst is a socket that has finished, failed or closed. If it was the last destination, this
// socket is then paused as after Unpipe. It is neither ended nor destroyed. A failure of this socket does not end
// dst. A dst that was never connected fails with ErrSocketClosed at the first chunk, as in Node.
//
// A nil dst is logged and otherwise ignored. So is any dst while OnRead, Scan, Chunks or BlockingConn
// is the consumer.
//
// Node: socket.pipe.
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

// link adds a destination and starts the flow.
func (s *Socket) link(l *pipe) {
	s.mu.Lock()
	if l.relay != nil && s.destroyed { // the relay does not apply to a later connection
		s.mu.Unlock()
		return
	}
	if err := s.consumedLocked("Pipe"); err != nil {
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
	ended := s.in.ended && (l.relay != nil || !s.destroyed) // a destroyed socket may connect again
	s.mu.Unlock()
	if l.sock != nil {
		l.sock.mu.Lock()
		destroyed := l.sock.destroyed
		if !destroyed {
			r := l.sock.makeOpt()
			r.sources = append(r.sources, l)
		}
		l.sock.mu.Unlock()
		if destroyed {
			s.unpipe(l)
			return
		}
		l.checkRoom()
	}
	switch {
	case ended && l.relay != nil:
		l.end()
	case ended:
		s.loop().Post(func() { // dst ends after the data that the running callback still writes to it
			if slices.Contains(s.pipes(), l) {
				l.end()
			}
		})
	default:
		s.Resume()
	}
}

// Unpipe removes one Pipe to dst, or every Pipe if dst is nil. It does not affect Relay.
//
// When no destination is left, the socket is paused until Resume, except that it reads one chunk ahead
// and buffers it. While it has buffered none, it detects the peer's end.
//
// Node: socket.unpipe.
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

// pipes returns the pipes whose source is s.
func (s *Socket) pipes() []*pipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.pipes
}

// sameWriter reports whether a equals b. Values of types that cannot be compared are never equal.
func sameWriter(a, b io.Writer) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// unpipe removes one pipe of s.
func (s *Socket) unpipe(l *pipe) {
	s.mu.Lock()
	s.removePipeLocked(l, unpiped) // if the peer sends no more data, its end is detected
	s.mu.Unlock()
	l.leaveSock()
}

// removePipeLocked removes l from the pipes of s. After the last one, s continues in the given mode, unless it is paused.
func (s *Socket) removePipeLocked(l *pipe, after flowMode) {
	n := len(s.in.pipes)
	if n == 0 {
		return
	}
	s.in.pipes = slices.DeleteFunc(slices.Clone(s.in.pipes), func(x *pipe) bool { return x == l })
	if len(s.in.pipes) == n {
		return
	}
	if l.blocked {
		l.blocked = false
		s.in.blocked--
	}
	if len(s.in.pipes) == 0 && s.in.mode != paused {
		s.in.mode = after
	}
	s.scheduleFlowLocked()
	s.updateReadingLocked()
}

// leaveSock removes l from the pipes to its destination, if that is a socket.
func (l *pipe) leaveSock() {
	if l.sock == nil {
		return
	}
	l.sock.mu.Lock()
	defer l.sock.mu.Unlock()
	if r := l.sock.optional; r != nil {
		r.sources = slices.DeleteFunc(slices.Clone(r.sources), func(x *pipe) bool { return x == l })
	}
}

// write writes one chunk, which is borrowed, to the destination.
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
		l.writeFailed(err)
		return
	}
	l.checkRoom()
}

// writeFailed removes the pipe after a failed write to dst.
func (l *pipe) writeFailed(err error) {
	switch {
	case l.relay != nil:
		if !errors.Is(err, ErrDestroyed) { // the relay handles the destruction itself
			l.relay.writeFailed(err)
		}
	case l.sock == nil:
		l.src.writerFailed(l, err)
	default:
		l.src.unpipe(l)
		if err == ErrSocketClosed { // the events of dst report the other errors
			l.sock.Destroy(err)
		}
	}
}

// writerFailed handles a failed write to a destination that is not a socket, and so emits no event. If s has no other
// consumer, s would be paused without an event: it is destroyed.
func (s *Socket) writerFailed(l *pipe, err error) {
	s.mu.Lock()
	if !slices.Contains(s.in.pipes, l) { // the writer has called Unpipe
		s.mu.Unlock()
		return
	}
	hasListener := s.events.count(kindData) > 0
	if len(s.in.pipes) == 1 && !hasListener {
		err = &net.OpError{Op: "pipe", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
		s.mu.Unlock()
		s.Destroy(err)
		return
	}
	after := unpiped
	if hasListener {
		after = flowing
	}
	s.removePipeLocked(l, after)
	s.mu.Unlock()
	if r, ok := s.set.record(slog.LevelWarn); ok {
		r.Write("evnet: writing to a destination of Pipe failed", "err", err)
	}
}

// checkRoom holds the source back while the destination needs to drain.
func (l *pipe) checkRoom() {
	if l.sock == nil {
		return
	}
	full, splices := l.sock.room()
	l.splices.Store(splices)
	if full {
		l.block(l.sock.NeedDrain)
	}
}

// block holds the source back until unblock is called, which it does itself if full reports false afterwards.
func (l *pipe) block(full func() bool) {
	l.src.mu.Lock()
	if !l.blocked && slices.Contains(l.src.in.pipes, l) {
		l.blocked = true
		l.src.in.blocked++
		l.src.updateReadingLocked()
	}
	l.src.mu.Unlock()
	if !full() { // dst has drained meanwhile, on a loop of its own
		l.unblock()
	}
}

// unblock lets the source continue after block.
func (l *pipe) unblock() {
	l.src.mu.Lock()
	defer l.src.mu.Unlock()
	if l.blocked {
		l.blocked = false
		l.src.in.blocked--
		l.src.scheduleFlowLocked()
	}
}

// end ends the destination, if it is a socket, after the end of the source.
func (l *pipe) end() {
	if l.sock != nil {
		l.sock.End()
	}
	l.src.unpipe(l)
}

// drainPipes unblocks the pipes whose destination is s.
func (s *Socket) drainPipes() {
	for _, l := range s.pipeSources() {
		l.unblock()
	}
}

// leavePipes removes the pipes whose destination is s and, if s is destroyed, those whose source is s. A pipe of a Relay
// is removed only if s is destroyed: until then its source continues, and fails if more data arrives.
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

// pipeSources returns the pipes whose destination is s.
func (s *Socket) pipeSources() []*pipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().sources
}

// If the kernel can splice both sockets of a Pipe, and the source has no other consumer, the data moves through a pipe of
// the kernel.

// splicesLocked reports whether the next received bytes may go to the destination of a Pipe without being read. s.mu is held.
func (s *Socket) splicesLocked() bool {
	in := &s.in
	return s.stream.Splices() && len(in.pipes) == 1 && in.pipes[0].sock != nil && in.pipes[0].splices.Load() &&
		s.canDeliverLocked() && in.buffered() == 0 && in.onRead == nil && in.decoder == nil &&
		!s.set.Loop.tracing() && s.events.count(kindData) == 0
}

// writePipe writes the bytes of a splice pipe to the destination.
func (l *pipe) writePipe(r *transport.Report) {
	pending, err := l.sock.writePipe(r)
	if err != nil {
		l.writeFailed(err)
		return
	}
	if pending {
		l.block(l.sock.isSplicePending)
	}
	l.checkRoom()
}

// writePipe is Write for the bytes in a splice pipe, which the stream owns afterwards. pending reports whether some of
// them stay in the pipe.
func (s *Socket) writePipe(r *transport.Report) (pending bool, err error) {
	s.mu.Lock()
	if err := s.writeErrorLocked(false); err != nil { // MaxWriteBuffer does not apply: the bytes were received already
		s.mu.Unlock()
		r.Pipes.Discard(r.Pipe)
		return false, err
	}
	if s.stream.Queued() == 0 {
		s.noteCompletedLocked()
	}
	sent, err := s.stream.SendPipe(r.Pipe, r.Pipes, s.maySendNowLocked())
	if err == nil && s.stream.IsOpen() {
		err = s.afterWritingLocked(sent, nil)
	}
	if err != nil {
		e := s.writeFailedLocked(err, false)
		s.mu.Unlock()
		e.run()
		return false, nil // the events of s report it
	}
	pending = s.stream.HoldsPipe()
	s.out.splicePending = s.out.splicePending || pending
	if s.exceedsLocked(s.highWaterMarkLocked()) {
		s.out.needDrain = true
	}
	s.mu.Unlock()
	return pending, nil
}

// room reports whether the socket needs to drain, and whether it accepts splice pipes, for the source of a Pipe.
func (s *Socket) room() (full, splices bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.needsDrainLocked(), s.stream.TakesPipes()
}

// isSplicePending reports whether unsent bytes are left in a splice pipe.
func (s *Socket) isSplicePending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.splicePending
}
