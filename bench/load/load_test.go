package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/bench/figures"
)

// If this variable is set, the test binary is the load generator.
const asLoad = "BENCH_TEST_AS_LOAD"

func TestMain(m *testing.M) {
	if os.Getenv(asLoad) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// listen starts a server that calls serve for each connection, and returns its address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return l.Addr().String()
}

// echoInPieces echoes with a small buffer, so that messages are split.
func echoInPieces(c net.Conn) {
	p := make([]byte, 1000)
	for {
		n, err := c.Read(p)
		if err != nil {
			return
		}
		if _, err := c.Write(p[:n]); err != nil {
			return
		}
	}
}

func loadCommand(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0], append([]string{"-warmup", "20ms", "-duration", "100ms"}, args...)...)
	cmd.Env = append(os.Environ(), asLoad+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

func figuresOf(t *testing.T, out []byte) (f figures.Load) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 3)
	assert.Equal(t, []string{"start", "end"}, lines[:2])
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &f))
	return f
}

func TestEchoedWorkloads(t *testing.T) {
	for _, test := range []struct {
		name string
		size int64
		args string
	}{
		{"one", 64, "-workload echo -conns 1"},
		{"many", 64, "-workload echo -conns 300"},
		{"deep", 64, "-workload echo -conns 10 -depth 16"},
		{"unusual sizes", 777, "-workload echo -conns 3 -size 777 -depth 5"},
		{"large", 1 << 20, "-workload echo -conns 2 -size 1048576"},
		{"lines", 64, "-workload line -conns 10 -depth 16"},
		{"accept", 64, "-workload accept -conns 8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append(strings.Fields(test.args), "-addr", listen(t, echoInPieces), "-pid", strconv.Itoa(os.Getpid()))
			cmd, stderr := loadCommand(args...)
			out, err := cmd.Output()
			require.NoError(t, err, stderr)
			f := figuresOf(t, out)
			assert.Positive(t, f.Messages)
			assert.InDelta(t, 0.1, f.Seconds, 0.09)
			assert.Positive(t, f.P50)
			assert.LessOrEqual(t, f.P50, f.P99)
			assert.LessOrEqual(t, f.P99, f.P999)
			assert.Positive(t, f.ServerCPU)
			assert.Positive(t, f.LoadCPU)
			// Only messages in flight can be counted partly.
			assert.InDelta(t, f.Messages*test.size, f.Bytes, float64(300*16*max(test.size, 64)))
		})
	}
}

func TestIdleCountsItsConnections(t *testing.T) {
	cmd, stderr := loadCommand("-workload", "idle", "-conns", "200", "-addr", listen(t, echoInPieces))
	out, err := cmd.Output()
	require.NoError(t, err, stderr)
	assert.EqualValues(t, 200, figuresOf(t, out).Messages)
}

func TestFirehoseTimesTheQuietOne(t *testing.T) {
	cmd, stderr := loadCommand("-workload", "firehose", "-addr", listen(t, echoInPieces))
	out, err := cmd.Output()
	require.NoError(t, err, stderr)
	f := figuresOf(t, out)
	assert.Positive(t, f.Messages)
	assert.LessOrEqual(t, f.Messages, int64(100), "at most one every 2 ms")
	assert.Greater(t, f.Bytes, 100*f.Messages, "the bytes of the large messages are counted")
}

func TestBroadcastWaitsForAll(t *testing.T) {
	var mu sync.Mutex
	members := map[net.Conn]bool{}
	address := listen(t, func(c net.Conn) {
		mu.Lock()
		members[c] = true
		mu.Unlock()
		line := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, line); err != nil {
				return
			}
			mu.Lock()
			for m := range members {
				_, _ = m.Write(bytes.Repeat(line, 16))
			}
			mu.Unlock()
		}
	})
	cmd, stderr := loadCommand("-workload", "broadcast", "-conns", "20", "-depth", "16", "-addr", address)
	out, err := cmd.Output()
	require.NoError(t, err, stderr)
	f := figuresOf(t, out)
	assert.Greater(t, f.Messages, int64(20*16))
	assert.Positive(t, f.P50)
}

func TestProxyGoesBothWays(t *testing.T) {
	cmd, stderr := loadCommand("-workload", "proxy", "-conns", "5", "-size", "65536")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	upstream := strings.TrimSpace(strings.TrimPrefix(line, "upstream "))
	var mu sync.Mutex
	down := int64(0)
	address := listen(t, func(c net.Conn) {
		up, err := net.Dial("tcp", upstream)
		if err != nil {
			return
		}
		go func() {
			n, _ := io.Copy(c, up)
			mu.Lock()
			down += n
			mu.Unlock()
			_ = c.Close()
		}()
		_, _ = io.Copy(up, c)
		_ = up.Close()
	})
	_, err = io.WriteString(stdin, address+" "+strconv.Itoa(os.Getpid())+"\n")
	require.NoError(t, err)
	require.NoError(t, stdin.Close())
	out, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), stderr)
	f := figuresOf(t, out)
	assert.Positive(t, f.Messages)
	assert.InDelta(t, f.Messages*65536, f.Bytes, 5*65536)
}

func TestServerFailuresAreReported(t *testing.T) {
	alter := func(change func([]byte) []byte) func(net.Conn) {
		return func(c net.Conn) {
			p := make([]byte, 64)
			for n := 0; ; n++ {
				if _, err := io.ReadFull(c, p); err != nil {
					return
				}
				answer := bytes.Clone(p)
				if n == 100 {
					answer = change(answer)
				}
				if _, err := c.Write(answer); err != nil || answer == nil {
					return
				}
			}
		}
	}
	for _, test := range []struct {
		name, want string
		serve      func(net.Conn)
	}{
		{"a wrong byte", "wrong byte", alter(func(p []byte) []byte { p[63]++; return p })},
		{"a byte too many", "but sent only", alter(func(p []byte) []byte { return append(p, p...) })},
		{"a closed connection", "unexpected EOF", alter(func([]byte) []byte { return nil })},
		{"no answer", "no answer from the server within 10s", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd, stderr := loadCommand("-duration", "20s", "-addr", listen(t, test.serve), "-conns", "1")
			require.Error(t, cmd.Run())
			assert.Contains(t, stderr.String(), test.want)
		})
	}
}

func TestBadFlagsAreReported(t *testing.T) {
	for args, want := range map[string]string{
		"-workload magic":            "must be one of echo, line",
		"-size 0":                    "-size 0: must be from 1",
		"-size 9999999":              "must be from 1 to 1048576",
		"-conns 0":                   "must be at least 1",
		"-duration 0s":               "must be above 0",
		"-conns 99000000":            "ulimit -Hn",
		"-addr nowhere":              "must be an IPv4 address",
		"-addr [::1]:80":             "must be an IPv4 address",
		"-workload proxy":            `read the proxy's "HOST:PORT PID"`,
		"-addr 127.0.0.1:1 -conns 1": "connection refused",
	} {
		cmd, stderr := loadCommand(strings.Fields(args)...)
		require.Error(t, cmd.Run(), args)
		assert.Contains(t, stderr.String(), want, args)
	}
}
