package evnet

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// endsWithWords is a conn whose last bytes come with its end.
type endsWithWords struct {
	net.Conn
	reads int
}

func (c *endsWithWords) Read(p []byte) (int, error) {
	c.reads++
	return copy(p, "last"), io.EOF
}

// What comes with the end is not lost to it, and the end stays: the conn is not asked again.
func TestTLSBytesWithTheEnd(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &endsWithWords{Conn: here}
	b := &beneath{Conn: c, early: []byte("first")}
	p := make([]byte, 8)
	for _, want := range []string{"first", "last"} {
		n, err := b.Read(p)
		assert.Equal(t, want, string(p[:n]))
		assert.NoError(t, err)
	}
	for range 2 {
		n, err := b.Read(p)
		assert.Zero(t, n)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.NotEqual(t, io.EOF, err, "which package tls would take for a clean end")
	}
	assert.Equal(t, 1, c.reads)
}
