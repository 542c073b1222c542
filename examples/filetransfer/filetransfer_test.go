package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests in the parent directory run the programs as processes.

func fileOf(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestSourceKnowsItsBeginnings(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 2*step/16) + "rest"
	var reported []int64
	s, err := readSource(t.Context(), fileOf(t, text), func(done, size int64) {
		assert.EqualValues(t, len(text), size)
		reported = append(reported, done)
	})
	require.NoError(t, err)
	assert.Equal(t, []int64{step, 2 * step, 2*step + 4}, reported)
	for _, n := range reported {
		assert.Equal(t, sumOf(text[:n]), s.sum(n))
	}
	assert.Equal(t, sumOf(""), s.sum(0))
	for _, n := range []int64{-1, -step, 1, step + 1, 3 * step, 1 << 62} {
		assert.Empty(t, s.sum(n), "%d", n)
	}
}

func TestSourceNotices(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"another length": func(path string) error { return os.Truncate(path, 3) },
		"another time":   func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"another file": func(path string) error {
			info, err := os.Stat(path)
			if err == nil {
				err = os.WriteFile(path+"2", []byte("other"), 0o600)
			}
			if err == nil {
				err = os.Chtimes(path+"2", time.Time{}, info.ModTime())
			}
			if err == nil {
				err = os.Rename(path+"2", path)
			}
			return err
		},
	} {
		path := fileOf(t, "hello")
		s, err := readSource(t.Context(), path, func(int64, int64) {})
		require.NoError(t, err)
		require.NoError(t, s.changed())
		require.NoError(t, change(path))
		assert.ErrorContains(t, s.changed(), "changed during the transfer", name)
		require.NoError(t, os.Remove(path))
		assert.ErrorIs(t, s.changed(), fs.ErrNotExist)
	}

	path := fileOf(t, strings.Repeat("x", 2*step))
	_, err := readSource(t.Context(), path, func(int64, int64) { assert.NoError(t, os.Truncate(path, step)) })
	assert.ErrorContains(t, err, "unexpected EOF")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = readSource(ctx, path, func(int64, int64) {})
	assert.ErrorIs(t, err, context.Canceled)
}

// A part does not replace a file that another program has created in the meantime.
func TestPartReplacesNothing(t *testing.T) {
	s := testStore(t, limits{})
	p, whole, err := openPart(t.Context(), s, header{version, "x", 5, sumOf("hello")}, netip.Prefix{})
	require.NoError(t, err)
	assert.False(t, whole)
	require.NoError(t, p.begin(0))
	_, err = p.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, s.dir.WriteFile("x", []byte("precious"), 0o600))
	assert.ErrorIs(t, p.finish(), errExists)
	kept, err := s.dir.ReadFile("x")
	require.NoError(t, err)
	assert.Equal(t, "precious", string(kept))
	assert.Equal(t, []string{"x"}, namesIn(t, s))
}

// The sender receives wait messages while the receiver's disk is busy.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := evnet.NewLoop()
		here, there := net.Pipe()
		tr := &transfer{c: evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})}
		tr.diskBusy.Store(true)
		tr.heartbeatTimer = loop.AfterFunc(heartbeatEvery, tr.heartbeat)
		began := time.Now()
		go func() {
			lines := bufio.NewReader(there)
			for i := range 3 {
				line, err := lines.ReadString('\n')
				assert.NoError(t, err)
				assert.JSONEq(t, `{"wait":true}`, line)
				assert.Equal(t, time.Duration(i+1)*heartbeatEvery, time.Since(began))
			}
			loop.Post(func() {
				tr.heartbeatTimer.Stop()
				tr.c.Destroy(nil)
			})
		}()
		loop.Run()
	})
}

// A header that arrives byte by byte resets the idle timeout, but not the timeout of the header.
func TestSlowHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := evnet.NewLoop()
		here, there := net.Pipe()
		r := testReceiver(t, limits{idle: time.Minute})
		c := evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})
		loop.Do(func() { r.accept(c) })
		began := time.Now()
		var trickle sync.WaitGroup
		defer trickle.Wait()
		trickle.Go(func() {
			for range 100 {
				if _, err := there.Write([]byte("{")); err != nil {
					return
				}
				time.Sleep(headerTime / 3)
			}
		})
		go func() {
			line, err := bufio.NewReader(there).ReadString('\n')
			assert.NoError(t, err)
			assert.Contains(t, line, "no header within 10s")
			assert.Equal(t, headerTime, time.Since(began))
			_ = there.Close()
		}()
		loop.Run()
	})
}

func TestProgressLines(t *testing.T) {
	var printed strings.Builder
	p := newProgress("sending x", 2_000_000, false)
	p.out = &printed
	p.at(1000)
	assert.Empty(t, printed.String(), "no line before the interval has passed")
	p.last = p.last.Add(-2 * lineEvery)
	p.at(1_000_000)
	assert.Regexp(t, `^sending x: 1\.0 MB of 2\.0 MB \(50 %\), (100\.0|9\d\.\d) kB/s\n$`, printed.String())
	printed.Reset()
	p.at(2_000_000)
	assert.Empty(t, printed.String())
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 500_000_000: "500.0 MB", 12_345_678_901: "12.3 GB", 5e15: "5000.0 TB",
	} {
		assert.Equal(t, want, bytes(n))
	}
}
