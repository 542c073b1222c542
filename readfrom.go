package evnet

import "io"

// ReadFrom writes what r gives until its end, at the pace of the peer: it blocks the calling
// goroutine while NeedDrain is true. It returns the bytes written and the first error of r, of
// Write, or the cause when the socket closes meanwhile. In a callback, where waiting would stop the
// loop that it waits for, it returns ErrOnLoop at once: use Pipe there. It implements io.ReaderFrom,
// so that io.Copy uses it. Node: stream.pipeline into a socket.
func (s *Socket) ReadFrom(r io.Reader) (n int64, err error) {
	if r == nil {
		return 0, ErrNilArgument
	}
	if s.loop.here() {
		return 0, ErrOnLoop
	}
	room := make(chan struct{}, 1)
	wake := func() {
		select {
		case room <- struct{}{}:
		default:
		}
	}
	defer s.On.Drain(wake).Off()
	defer s.On.Finish(wake).Off()
	defer s.On.Close(func(bool) { wake() }).Off()
	buf := make([]byte, maxChunk)
	for {
		got, rerr := r.Read(buf)
		if got > 0 {
			if _, err := s.Write(buf[:got]); err != nil {
				if cause := s.Err(); cause != nil {
					err = cause
				}
				return n, err
			}
			n += int64(got)
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
		for s.NeedDrain() {
			<-room
		}
	}
}
