package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scriptedConn returns results from the test. Its other methods belong to a net.Pipe.
type scriptedConn struct {
	net.Conn
	reads  []readResult
	read   int // calls
	write  func(p []byte) (int, error)
	limits int // calls of SetWriteDeadline
}

type readResult struct {
	p   string
	err error
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	r := c.reads[min(c.read, len(c.reads)-1)]
	c.read++
	return copy(p, r.p), r.err
}

func (c *scriptedConn) Write(p []byte) (int, error) { return c.write(p) }

func (c *scriptedConn) SetWriteDeadline(time.Time) error {
	c.limits++
	return nil
}

func newScripted(t testing.TB, reads ...readResult) *scriptedConn {
	here, _ := pipePair(t)
	return &scriptedConn{Conn: here, reads: reads}
}

// conditionError is an error of a conn that is temporary, a timeout or both.
type conditionError struct{ temporary, timeout bool }

func (conditionError) Error() string     { return "on purpose" }
func (e conditionError) Temporary() bool { return e.temporary }
func (e conditionError) Timeout() bool   { return e.timeout }

// Bytes that arrive with the end are not lost, and the end is permanent: the conn is not read again.
func TestAdapter_BytesWithTheEnd(t *testing.T) {
	c := newScripted(t, readResult{"last", io.EOF})
	a := &adapter{Conn: c, early: []byte("first")}
	p := make([]byte, 8)
	for _, want := range []string{"first", "last"} {
		n, err := a.Read(p)
		assert.Equal(t, want, string(p[:n]))
		assert.NoError(t, err)
	}
	for range 2 {
		n, err := a.Read(p)
		assert.Zero(t, n)
		assert.ErrorIs(t, err, ErrTruncated)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.NotEqual(t, io.EOF, err, "package tls would treat io.EOF as a clean end")
	}
	assert.Equal(t, 1, c.read)
}

// Bytes that were read before TLS come first, in pieces if the buffer is small.
func TestAdapter_EarlyBytes(t *testing.T) {
	c := newScripted(t, readResult{"conn", nil})
	a := &adapter{Conn: c, early: []byte("early")}
	got, p := "", make([]byte, 3)
	for range 3 {
		n, err := a.Read(p)
		require.NoError(t, err)
		got += string(p[:n]) + "|"
	}
	assert.Equal(t, "ear|ly|con|", got)
	assert.Nil(t, a.early)
}

// A truncated end is an error with the addresses, for a kernel conn too.
func TestAdapter_TruncatedKernelConn(t *testing.T) {
	here, there := tcpPair(t)
	require.NoError(t, there.Close())
	_, err := (&adapter{Conn: here}).Read(make([]byte, 8))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "read", op.Op)
	assert.Equal(t, "tcp", op.Net)
	assert.Equal(t, here.RemoteAddr(), op.Addr)
	assert.Equal(t, ErrTruncated, op.Err)
}

// A temporary failure is retried. If it persists, it becomes permanent, so that package tls does not retry forever.
func TestAdapter_TemporaryFailureToRead(t *testing.T) {
	temporary := conditionError{temporary: true}
	c := newScripted(t, readResult{"", temporary}, readResult{"", nil}, readResult{"data", nil})
	p := make([]byte, 8)
	n, err := (&adapter{Conn: c}).Read(p)
	assert.NoError(t, err)
	assert.Equal(t, "data", string(p[:n]))
	assert.Equal(t, 3, c.read)

	c = newScripted(t, readResult{"", temporary})
	_, err = (&adapter{Conn: c}).Read(p)
	assert.ErrorIs(t, err, temporary)
	var failed net.Error
	require.ErrorAs(t, err, &failed)
	assert.False(t, failed.Timeout())
	assert.False(t, failed.(interface{ Temporary() bool }).Temporary())
	assert.Equal(t, maxFailures+1, c.read)
}

// A timeout is reported as temporary, so that package tls does not store it.
func TestAdapter_TimeoutWhileReading(t *testing.T) {
	timeout := conditionError{timeout: true}
	c := newScripted(t, readResult{"some", timeout}, readResult{"", timeout})
	a, p := &adapter{Conn: c}, make([]byte, 8)
	n, err := a.Read(p)
	assert.NoError(t, err)
	assert.Equal(t, "some", string(p[:n]))
	_, err = a.Read(p)
	var failed net.Error
	require.ErrorAs(t, err, &failed)
	assert.True(t, failed.Timeout())
	assert.True(t, failed.(interface{ Temporary() bool }).Temporary())
	assert.ErrorIs(t, err, timeout)
}

// Write writes everything, even if the conn accepts only a part at a time, and reports a failure as permanent.
func TestAdapter_Write(t *testing.T) {
	c := newScripted(t)
	got := ""
	c.write = func(p []byte) (int, error) {
		n := min(len(p), 3)
		got += string(p[:n])
		return n, nil
	}
	a := &adapter{Conn: c}
	n, err := a.Write([]byte("eight by"))
	assert.Equal(t, 8, n)
	assert.NoError(t, err)
	assert.Equal(t, "eight by", got)
	assert.EqualValues(t, 8, a.wire.sent.Load())

	temporary := conditionError{temporary: true}
	c.write = func([]byte) (int, error) { return 0, temporary }
	_, err = a.Write([]byte("x"))
	var failed net.Error
	require.ErrorAs(t, err, &failed)
	assert.False(t, failed.(interface{ Temporary() bool }).Temporary())
	assert.EqualValues(t, 8, a.wire.sent.Load())

	calls := 0
	c.write = func([]byte) (int, error) { calls++; return 0, nil }
	a.closed.Store(true)
	_, err = a.Write([]byte("x"))
	assert.ErrorIs(t, err, io.ErrShortWrite)
	assert.Equal(t, 1, calls, "a closed conn is not retried")
}

// An adapter closes its conn once. Reading it afterwards returns net.ErrClosed.
func TestAdapter_Close(t *testing.T) {
	c := newScripted(t, readResult{"", nil})
	a := &adapter{Conn: c}
	assert.NoError(t, a.Close())
	assert.ErrorIs(t, a.Close(), net.ErrClosed)
	_, err := a.Read(make([]byte, 8))
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Equal(t, c, a.NetConn())
}

// Package tls sets a write deadline of five seconds to end its side. It has no effect, because a peer may read slowly.
func TestAdapter_SendEndIsPatient(t *testing.T) {
	c := newScripted(t)
	c.write = func(p []byte) (int, error) { return len(p), nil }
	a := &adapter{Conn: c}
	require.NoError(t, a.SetWriteDeadline(time.Time{}))
	assert.Equal(t, 1, c.limits)
	err := a.sendEnd(tls.Client(a, &tls.Config{InsecureSkipVerify: true}))
	assert.Error(t, err, "there was no handshake")
	require.NoError(t, a.SetWriteDeadline(time.Now()))
	assert.Equal(t, 1, c.limits)
}

// Secure does not wrap a conn that uses TLS itself, and does not change the caller's config.
func TestSecure(t *testing.T) {
	here, _ := pipePair(t)
	config := &tls.Config{}
	assert.Equal(t, here, Secure(here, Client, nil, "host", nil))
	over := Secure(here, Client, config, "host", []byte("early"))
	assert.IsType(t, &tls.Conn{}, over)
	assert.Empty(t, config.ServerName)
	assert.Equal(t, here, adapterOf(over).Conn)
	assert.Nil(t, adapterOf(here))
	assert.Equal(t, over, Secure(over, Server, config, "", nil))
	assert.Equal(t, here, Lowest(over))
	assert.Nil(t, kernelConnOf(over))
	tcp, _ := tcpPair(t)
	assert.Equal(t, net.Conn(tcp), kernelConnOf(Secure(tcp, Server, config, "", nil)))
}

// isTemporary and timedOut distinguish errors that may be retried.
func TestIsTemporary(t *testing.T) {
	assert.False(t, isTemporary(nil))
	assert.False(t, isTemporary(io.EOF))
	assert.True(t, isTemporary(conditionError{temporary: true}))
	assert.False(t, isTemporary(conditionError{temporary: true, timeout: true}))
	assert.False(t, isTemporary(permanent(conditionError{temporary: true})))
	assert.True(t, timedOut(errors.Join(conditionError{timeout: true})))
	assert.False(t, timedOut(nil))
}
