package transport

import (
	"crypto/tls"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/netpoll"
)

// A recalled conn is free: no Read is running. It is detached with the bytes that were read and not served.
func TestDetach(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, here)
	o.do(func(s *Stream) { s.SetReading(true) })
	_, err := there.Write([]byte("unserved")) // the loop does not run meanwhile
	require.NoError(t, err)
	recall(t, o)
	o.do(func(s *Stream) {
		assert.NoError(t, s.Unreported())
		conn, rest := s.Detach()
		assert.Equal(t, here, conn)
		assert.Equal(t, "unserved", string(rest))
	})
	o.retire(false)
	l.running.Wait()
	go func() { _, _ = there.Write([]byte("mine")) }()
	p := make([]byte, 8)
	n, err := here.Read(p) // the conn is open and has no deadline
	require.NoError(t, err)
	assert.Equal(t, "mine", string(p[:n]))
}

// recall waits until the conn is free.
func recall(t testing.TB, o *testOwner) {
	for {
		o.mu.Lock()
		back, err := o.stream.Recall()
		o.mu.Unlock()
		require.NoError(t, err)
		if back == nil {
			return
		}
		<-back
	}
}

// Unrecall lets the reader continue.
func TestUnrecall(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, here)
	o.do(func(s *Stream) { s.SetReading(true) })
	recall(t, o)
	o.do(func(s *Stream) {
		s.SetReading(true)
		assert.False(t, s.workers.want, "the conn is recalled")
		s.Unrecall()
		s.SetReading(true)
	})
	go func() { _, _ = there.Write([]byte("x")) }()
	l.until(t, func() bool { return o.got.Len() > 0 })
}

// A failure that the conn may not report again is not lost to a caller that detaches it.
func TestUnreported(t *testing.T) {
	for err, want := range map[error]error{io.EOF: nil, errReset: errReset} {
		o, _ := holding(t, "", err)
		o.do(func(s *Stream) { assert.Equal(t, want, s.Unreported()) })
		o.Ready(netpoll.Readable)
		o.do(func(s *Stream) { assert.NoError(t, s.Unreported(), "the failure was served") })
	}
}

// Bytes that the writer sent before StartTLS are reported even if the loop serves the stream only later.
func TestStartTLS_ReportsBytesSentBefore(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, here)
	o.send(t, []byte("plain"))
	_, err := io.ReadFull(there, make([]byte, 5))
	require.NoError(t, err)
	l.running.Wait() // the writer has ended, and the loop has not run yet
	recall(t, o)
	o.mu.Lock()
	_, below := o.stream.StartTLS(Client, &tls.Config{InsecureSkipVerify: true}, "", nil)
	o.mu.Unlock()
	below.Close()
	l.drain()
	assert.Equal(t, []Flags{Moved}, o.flags)
}
