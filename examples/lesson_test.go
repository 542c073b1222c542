package examples_test

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A signal ends the server even if a client is connected. The server removes its socket file.
func TestServerInterrupted(t *testing.T) {
	for _, sig := range signals(t) {
		path := socketPath(t)
		s := startServer(t, "-unix", path)
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, "Cliente conectado\n", s.lines(1))
		received := make([]byte, len(greeting))
		_, err = io.ReadFull(c, received)
		require.NoError(t, err)
		assert.Equal(t, greeting, string(received))
		s.interrupt(sig, "Servidor encerrado\n")
		_, err = c.Read(received)
		assert.Error(t, err)
		_, err = os.Stat(path)
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
}

// A signal ends a client whose server sends nothing.
func TestClientInterrupted(t *testing.T) {
	for _, sig := range signals(t) {
		path := socketPath(t)
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		defer ln.Close()
		s := running(t, program(t, "client", "-unix", path))
		c, err := ln.Accept()
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, "Cliente conectado ao servidor!\n", s.lines(1))
		s.interrupt(sig, "")
	}
}
