// Package servers_test checks that every server program implements the workloads of the benchmark
// correctly and in the same way, because only correct servers can be compared.
package servers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEcho(t *testing.T) {
	for _, workload := range []string{"echo", "accept", "idle", "firehose"} {
		t.Run(workload, func(t *testing.T) {
			each(t, workload, func(t *testing.T, im implementation) {
				s := im.start(t, "-workload", workload)
				c := s.dial()
				sent := noise(1 << 20)
				wrote := writeInPieces(c, sent)
				time.Sleep(50 * time.Millisecond) // until the buffers of the kernel are full
				require.True(t, bytes.Equal(sent, readN(t, c, len(sent))), "the echo differs")
				require.NoError(t, <-wrote)
			})
		})
	}
}

func TestEchoToASlowReader(t *testing.T) {
	each(t, "echo", func(t *testing.T, im implementation) {
		c := im.start(t, "-workload", "echo", "-size", "65536").dial()
		sent := noise(12 << 20)
		wrote := writeInPieces(c, sent)
		time.Sleep(300 * time.Millisecond)
		require.True(t, bytes.Equal(sent, readN(t, c, len(sent))), "the echo differs")
		require.NoError(t, <-wrote)
	})
}

func TestManyShortConnections(t *testing.T) {
	each(t, "accept", func(t *testing.T, im implementation) {
		s := im.start(t, "-workload", "accept")
		for range 100 {
			c := s.dial()
			message := noise(64)
			_, err := c.Write(message)
			require.NoError(t, err)
			require.Equal(t, message, readN(t, c, len(message)))
			require.NoError(t, c.Close())
		}
	})
}

func TestLines(t *testing.T) {
	each(t, "line", func(t *testing.T, im implementation) {
		c := im.start(t, "-workload", "line").dial()
		var text bytes.Buffer
		for i := range 2000 {
			fmt.Fprintf(&text, "line %d %s\n", i, strings.Repeat("x", i%300))
		}
		sent := text.Bytes()
		wrote := writeInPieces(c, sent)
		require.Equal(t, string(sent), string(readN(t, c, len(sent))))
		require.NoError(t, <-wrote)
	})
}

// A line is answered as soon as it is complete, even if another line has begun.
func TestLineInPieces(t *testing.T) {
	each(t, "line", func(t *testing.T, im implementation) {
		c := im.start(t, "-workload", "line").dial()
		for _, piece := range []string{"one", " line", " only\nand", " the next"} {
			_, err := io.WriteString(c, piece)
			require.NoError(t, err)
			time.Sleep(20 * time.Millisecond)
		}
		require.Equal(t, "one line only\n", string(readN(t, c, len("one line only\n"))))
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		n, err := c.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(timeout)))
		_, err = io.WriteString(c, "\n")
		require.NoError(t, err)
		require.Equal(t, "and the next\n", string(readN(t, c, len("and the next\n"))))
	})
}

func TestBroadcast(t *testing.T) {
	const sockets, ticks, linesPerTick = 20, 5, 16
	each(t, "broadcast", func(t *testing.T, im implementation) {
		s := im.start(t, "-workload", "broadcast")
		var conns []*net.TCPConn
		for range sockets {
			conns = append(conns, s.dial())
		}
		leaving := s.dial()
		time.Sleep(200 * time.Millisecond) // until the server has accepted it
		require.NoError(t, leaving.Close())
		for tick := range ticks {
			line := fmt.Sprintf("B%-62d\n", tick)
			half := 30 * (tick % 2)
			ticker := conns[tick%sockets]
			for _, piece := range []string{line[:half], line[half:]} {
				_, err := io.WriteString(ticker, piece)
				require.NoError(t, err)
				time.Sleep(10 * time.Millisecond)
			}
			for _, c := range conns {
				want := strings.Repeat(line, linesPerTick)
				require.Equal(t, want, string(readN(t, c, len(want))))
			}
		}
	})
}

func TestDatagrams(t *testing.T) {
	for _, im := range []implementation{{name: "evnet"}, {name: "evnet", flags: []string{"-mode", "data"}}, {name: "plain"}} {
		t.Run(im.String(), func(t *testing.T) {
			s := im.start(t, "-workload", "udp")
			for range 2 {
				c, err := net.Dial("udp", s.addr)
				require.NoError(t, err)
				defer c.Close()
				require.NoError(t, c.SetDeadline(time.Now().Add(timeout)))
				for _, size := range []int{64, 0, 1, 1400, 60000} {
					message := noise(size)
					_, err := c.Write(message)
					require.NoError(t, err)
					got := make([]byte, 1<<16)
					n, err := c.Read(got)
					require.NoError(t, err)
					require.True(t, bytes.Equal(message, got[:n]), "the echo differs")
				}
			}
			require.Equal(t, "ok", s.request("rest"))
		})
	}
}

func TestCommands(t *testing.T) {
	each(t, "echo", func(t *testing.T, im implementation) {
		s := im.start(t, "-workload", "echo")
		c := s.dial()
		for range 2 {
			require.Equal(t, "ok", s.request("rest"))
			_, err := io.WriteString(c, "still alive")
			require.NoError(t, err)
			require.Equal(t, "still alive", string(readN(t, c, len("still alive"))))
		}
		var stat map[string]float64
		require.NoError(t, json.Unmarshal([]byte(s.request("stat")), &stat))
		require.Contains(t, stat, "goroutines")
		require.Contains(t, stat, "mallocs")
		if im.name != "node" && im.name != "c" {
			require.Positive(t, stat["goroutines"])
			require.Positive(t, stat["mallocs"])
		}
	})
}

func TestBadFlags(t *testing.T) {
	for _, flags := range [][]string{
		{"-workload", "nothing"}, {"-mode", "none"}, {"-loops", "0"}, {"-size", "0"}, {"-workload", "proxy"},
	} {
		cmd := implementation{name: "plain"}.command(t, flags...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 2, exit.ExitCode())
		require.Contains(t, string(out), flags[0])
		require.Contains(t, string(out), "want")
	}
}

// A program that does not support datagrams reports it.
func TestNoDatagrams(t *testing.T) {
	out, err := implementation{name: "gnet"}.command(t, "-workload", "udp").CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.ExitCode())
	require.Contains(t, string(out), "want one of")
}

// noise returns n pseudo-random bytes.
func noise(n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	source.Read(p)
	return p
}

// writeInPieces writes p in pieces of different sizes, on its own goroutine.
func writeInPieces(w io.Writer, p []byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		for size := 1; len(p) > 0; size = size*5%65521 + 1 {
			n := min(size, len(p))
			if _, err := w.Write(p[:n]); err != nil {
				done <- err
				return
			}
			p = p[n:]
		}
		done <- nil
	}()
	return done
}

// readN reads n bytes.
func readN(t *testing.T, r io.Reader, n int) []byte {
	p := make([]byte, n)
	got, err := io.ReadFull(r, p)
	require.NoError(t, err, "after %d of %d bytes", got, n)
	return p
}
