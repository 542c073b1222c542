package trust

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	roles["few descriptors"] = serveWithFewDescriptors
	roles["no descriptors"] = workWithoutDescriptors
}

// transports maps each transport to the environment that selects it in a process.
var transports = map[string]string{"poll": "EVNET_TRANSPORT=", "goroutine": "EVNET_TRANSPORT=goroutine"}

const manyErrors = 8 // consecutive accepts that fail; they take more than a second

// A server without free descriptors serves the open connections, reports the error and does not spin. It accepts
// again when descriptors are free.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := childCommand("few descriptors", transport)
			stdin, err := child.StdinPipe()
			require.NoError(t, err)
			stdout, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			defer bound(t, "the server does not answer").Stop()
			lines := bufio.NewScanner(stdout)
			line := func() string { lines.Scan(); return lines.Text() }
			address := line()

			var conns []net.Conn
			echo := func(i int) {
				_, err := conns[i].Write([]byte("x"))
				require.NoError(t, err)
				_, err = io.ReadFull(conns[i], make([]byte, 1))
				require.NoError(t, err)
			}
			for range 100 { // the kernel accepts them all
				c, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer c.Close()
				conns = append(conns, c)
			}
			for range manyErrors {
				require.Equal(t, "EMFILE", line())
			}
			before := cpu(t, child.Process.Pid)
			began := time.Now()
			require.Equal(t, "EMFILE", line()) // after the longest pause
			used := cpu(t, child.Process.Pid) - before
			t.Logf("%v of processor time in %v without descriptors", used, time.Since(began))
			assert.Less(t, used, time.Since(began)/2)

			echo(0) // open connections are served
			for _, c := range conns[:90] {
				_ = c.Close()
			}
			for i := 90; i < 100; i++ { // the connections that had to wait are served now
				echo(i)
			}
			_ = stdin.Close()
			for line() == "EMFILE" {
			}
			assert.Equal(t, "over", lines.Text())
			require.NoError(t, child.Wait())
		})
	}
}

// cpu returns the processor time that a process has used.
func cpu(t testing.TB, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	require.NoError(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond // a tick is a hundredth of a second
}

func serveWithFewDescriptors() {
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 50, Max: 50}))
	server := evnet.NewServer(&evnet.ServerOptions{Logger: quiet})
	server.On.Connection(func(s *evnet.Socket) { s.Pipe(s) })
	server.On.Error(func(err error) {
		if !errors.Is(err, syscall.EMFILE) {
			panic(err)
		}
		fmt.Println(evnet.Code(err))
	})
	check(server.Listen("tcp", "127.0.0.1:0", func() { fmt.Println(server.Address()) }))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		evnet.DefaultLoop.Post(func() {
			_ = server.Close(func() { fmt.Println("over") })
			server.CloseAllConnections()
		})
	}()
	evnet.Run()
}

// Without a free descriptor, an operation that needs one fails with an error that says so. Operations that need none
// still work.
func TestDescriptors_NoneLeft(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			child := childCommand("no descriptors", transport)
			defer bound(t, "the program does not end").Stop()
			out, err := child.Output()
			require.NoError(t, err, "%s", out)
			require.Equal(t, "served\nrefused\npiped\n", string(out))
		})
	}
}

func workWithoutDescriptors() {
	l := evnet.NewLoop() // its epoll descriptor is only opened later, when none is free
	var pairs [3][2]net.Conn
	for i := range pairs {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		pairs[i][0], err = net.Dial("tcp", ln.Addr().String())
		check(err)
		pairs[i][1], err = ln.Accept()
		check(err)
		check(ln.Close())
	}
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 60, Max: 60}))
	var files []*os.File
	use := func() { // all free descriptors
		for {
			f, err := os.Open(os.DevNull)
			if errors.Is(err, syscall.EMFILE) {
				return
			}
			check(err)
			files = append(files, f)
		}
	}
	use()

	a, b := wrap(l, pairs[0][0]), wrap(l, pairs[0][1])
	b.Pipe(b)
	text := strings.Repeat("x", 100_000)
	got := ""
	a.On.Data(func(p []byte) { got += string(p) })
	_, _ = a.WriteString(text)
	a.End()
	l.Run()
	expect(got == text && a.Err() == nil, "served", a.Err())

	use()
	c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
	c.Connect("tcp", "127.0.0.1:9")
	l.Run()
	err := evnet.NewServer(nil).Listen("tcp", "127.0.0.1:0", nil)
	expect(errors.Is(c.Err(), syscall.EMFILE) && errors.Is(err, syscall.EMFILE), "refused", c.Err(), err)

	// The loop has an epoll descriptor, but there is none for the pipes with which a stream is spliced.
	check(files[0].Close())
	from, to := wrap(l, pairs[1][0]), wrap(l, pairs[2][0])
	from.Pipe(to)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() {
		_, _ = pairs[1][1].Write(big)
		check(pairs[1][1].(*net.TCPConn).CloseWrite())
	}()
	var received []byte
	aside(l, func() { received, _ = io.ReadAll(pairs[2][1]); _ = pairs[2][1].Close() })
	l.Run()
	expect(bytes.Equal(received, big), "piped", len(received), from.Err(), to.Err())
}

// expect prints what, or ends the process with a report of why it failed.
func expect(ok bool, what string, why ...any) {
	if !ok {
		fmt.Fprintln(os.Stderr, append([]any{"not", what}, why...)...)
		os.Exit(1)
	}
	fmt.Println(what)
}
