package main

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// datagrams starts a datagram server and returns its address. The server answers each message with the
// result of answer, and does not answer if that is nil.
func datagrams(t *testing.T, answer func(n int, p []byte) []byte) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	t.Cleanup(func() {
		_ = c.Close()
		<-served
	})
	go func() {
		defer close(served)
		buf := make([]byte, 1<<16)
		for n := 0; ; n++ {
			size, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if p := answer(n, buf[:size]); p != nil {
				_, _ = c.WriteTo(p, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

func same(_ int, p []byte) []byte { return p }

func TestDatagrams(t *testing.T) {
	for _, test := range []struct{ conns, depth, size int }{{1, 1, 64}, {20, 4, 8}, {2, 100, 1400}} {
		cmd, stderr := loadCommand("-workload", "udp", "-addr", datagrams(t, same), "-conns", strconv.Itoa(test.conns),
			"-depth", strconv.Itoa(test.depth), "-size", strconv.Itoa(test.size))
		out, err := cmd.Output()
		require.NoError(t, err, stderr)
		f := figuresOf(t, out)
		assert.Positive(t, f.Messages)
		assert.Equal(t, f.Messages*int64(test.size), f.Bytes)
		assert.Positive(t, f.P50)
		assert.Positive(t, f.LoadCPU)
	}
}

// A datagram that is not echoed is counted as lost and does not stop the others.
func TestLostDatagrams(t *testing.T) {
	cmd, stderr := loadCommand("-workload", "udp", "-conns", "2", "-depth", "8", "-duration", "1s", "-addr",
		datagrams(t, func(n int, p []byte) []byte {
			if n%50 == 49 {
				return nil
			}
			return p
		}))
	out, err := cmd.Output()
	require.NoError(t, err, stderr)
	f := figuresOf(t, out)
	assert.Positive(t, f.Lost)
	assert.Greater(t, f.Messages, 10*f.Lost)
}

func TestDatagramServerFailuresAreReported(t *testing.T) {
	for want, answer := range map[string]func(int, []byte) []byte{
		"wrong byte in a message":            func(_ int, p []byte) []byte { p[20]++; return p },
		"received a message of 65 bytes":     func(_ int, p []byte) []byte { return append(p, 0) },
		"received a message of 63 bytes":     func(_ int, p []byte) []byte { return p[1:] },
		"-size 7: a datagram must have from": nil,
	} {
		args := []string{"-workload", "udp", "-conns", "1", "-addr", datagrams(t, same)}
		if answer == nil {
			args = append(args, "-size", "7")
		} else {
			args[5] = datagrams(t, answer)
		}
		cmd, stderr := loadCommand(args...)
		require.Error(t, cmd.Run(), want)
		assert.Contains(t, stderr.String(), want)
	}
}
