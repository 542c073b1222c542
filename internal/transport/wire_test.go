package transport

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// adapterOn returns the adapter of a TLS conn on top of conn.
func adapterOn(conn net.Conn) *adapter {
	return adapterOf(Secure(conn, Client, &tls.Config{InsecureSkipVerify: true}, "", nil))
}

// The parts of a Write that the kernel has accepted are known before the Write returns.
func TestWire_RecordsPartsOfAWrite(t *testing.T) {
	here, there := evtest.TCPPair(t)
	defer here.Close()
	defer there.Close()
	a := adapterOn(here)
	if a.writer == nil {
		t.Skip("the conn supports only its Write method")
	}
	data := evtest.RandomBytes(32 * evtest.Megabyte)
	written := make(chan error)
	go func() {
		_, err := a.Write(data)
		written <- err
	}()
	for a.wire.sent.Load() == 0 {
		runtime.Gosched()
	}
	assert.Less(t, a.wire.sent.Load(), int64(len(data)), "the peer has not read")
	assert.Positive(t, a.wire.last.Load())
	got := make([]byte, len(data))
	_, err := io.ReadFull(there, got)
	require.NoError(t, err)
	assert.NoError(t, <-written)
	evtest.AssertEqualBytes(t, data, got)
	assert.EqualValues(t, len(data), a.wire.sent.Load())
}

// Write of the adapter fails as Write of the conn does.
func TestWire_WriteFails(t *testing.T) {
	here, there := evtest.TCPPair(t)
	require.NoError(t, there.SetLinger(0))
	require.NoError(t, there.Close())
	a := adapterOn(here)
	_, err := here.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = a.Write([]byte("x"))
	evtest.AssertOpError(t, err, syscall.EPIPE, "write")
	assert.ErrorContains(t, err, "write tcp "+here.LocalAddr().String()+"->"+here.RemoteAddr().String()+": write: ")
	require.NoError(t, here.Close())
	_, err = a.Write([]byte("x"))
	evtest.AssertOpError(t, err, net.ErrClosed, "write")
}

// A function that waits for the next activity is called once.
func TestWire_CallsTheFunctionOnce(t *testing.T) {
	l := newLoop(t)
	here, there := pipePair(t)
	o := own(l, Secure(here, Client, &tls.Config{InsecureSkipVerify: true}, "", nil))
	defer o.retire(false)
	a := adapterOf(o.stream.Conn())
	calls := 0
	o.do(func(s *Stream) {
		assert.Zero(t, s.WireActive())
		s.OnWireActivity(func() { calls++ })
	})
	go io.Copy(io.Discard, there)
	for range 2 {
		_, err := a.Write([]byte("x"))
		require.NoError(t, err)
	}
	assert.Equal(t, 1, calls)
	o.do(func(s *Stream) {
		assert.NotZero(t, s.WireActive())
		assert.Zero(t, s.WireReceived())
	})
}
