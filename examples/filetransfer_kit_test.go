package examples_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// buildTransfer builds the file transfer, which is a module of its own for what its progress bar needs.
var buildTransfer = sync.OnceValue(func() error {
	if printed, err := exec.Command("go", "mod", "download", "-C=filetransfer").CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w\n%s", err, printed)
	}
	args := []string{"build", "-C=filetransfer", "-buildvcs=false", noSymbols, "-o", programs + string(filepath.Separator)}
	if underRace() {
		args = append(args, "-race")
	}
	if printed, err := buildCommand(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, printed)
	}
	return nil
})

// underRace reports whether the tests, and so the programs, have the race detector.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// transferProgram skips the test where the modules that the progress bar needs cannot be had.
func transferProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if err := buildTransfer(); err != nil {
		if os.Getenv("EVNET_CI") == "" && strings.HasPrefix(err.Error(), "go mod download") {
			t.Skip("the modules of the progress bar are not to be had: ", err)
		}
		require.NoError(t, err)
	}
	return program(t, "filetransfer", args...)
}

// transfer runs a sender to its end.
func transfer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := startTransfer(t, args...)
	_ = p.Wait()
	return p.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()
}

// transferProcess is a sender, or a receiver, that is running.
type transferProcess struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer // for after Wait
}

func startTransfer(t *testing.T, args ...string) *transferProcess {
	t.Helper()
	p := &transferProcess{Cmd: transferProgram(t, args...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.Start())
	return p
}

// transferReceiver is a receiver that listens.
type transferReceiver struct {
	*exec.Cmd
	t            *testing.T
	dir, address string
	said         *bufio.Reader
	stderr       bytes.Buffer // for after exits
}

func startReceiver(t *testing.T, dir, address string, args ...string) *transferReceiver {
	t.Helper()
	r := &transferReceiver{t: t, dir: dir, Cmd: transferProgram(t, append([]string{"-listen", address, "-dir", dir}, args...)...)}
	r.start()
	return r
}

func (r *transferReceiver) start() {
	r.t.Helper()
	stdout, err := r.StdoutPipe()
	require.NoError(r.t, err)
	r.Stderr = &r.stderr
	require.NoError(r.t, r.Start())
	r.said = bufio.NewReader(stdout)
	r.address = strings.TrimPrefix(r.line(), "listening on ")
}

// line is the next that the receiver prints.
func (r *transferReceiver) line() string {
	r.t.Helper()
	line, err := r.said.ReadString('\n')
	require.NoError(r.t, err, "after %q", line)
	return strings.TrimSuffix(line, "\n")
}

// exits waits for the receiver's end, and returns the rest of what it says.
func (r *transferReceiver) exits() (code int, stdout string) {
	rest, _ := io.ReadAll(r.said)
	_ = r.Wait()
	return r.ProcessState.ExitCode(), string(rest)
}

// left are the names in the receiver's directory.
func (r *transferReceiver) left() []string {
	entries, err := os.ReadDir(r.dir)
	require.NoError(r.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// peakMemory is the most that a process has held at once, in bytes; 0 where that is not told.
func peakMemory(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes := 0
	_, _ = fmt.Sscan(rest, &kilobytes) // a process that has ended has none
	return kilobytes << 10
}

// randomFile makes a file, and returns its path and its SHA-256.
func randomFile(t *testing.T, name string, size int64) (path, sum string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	file, err := os.Create(path)
	require.NoError(t, err)
	digest := sha256.New()
	_, err = io.CopyN(io.MultiWriter(file, digest), rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}), size)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return path, hex.EncodeToString(digest.Sum(nil))
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	digest := sha256.New()
	_, err = io.Copy(digest, file)
	require.NoError(t, err)
	return hex.EncodeToString(digest.Sum(nil))
}

// roadBuffer is how much the system may hold at the near end of a badRoad: little, so that the sender of a file of a few
// megabytes is still in the middle of it when its connection is held up or cut.
const roadBuffer = 128 << 10

// badRoad passes connections on to an address, but each only so far.
type badRoad struct {
	address string
	limits  chan int64
	reached chan struct{} // told each time that a connection has come so far
	goOn    chan struct{} // what a connection of hold waits for
	passed  atomic.Int64

	sender atomic.Pointer[os.Process] // whose memory is looked at before each answer, the last one included
	peak   atomic.Int64
}

// newBadRoad cuts the first connections after so many bytes each, and lets the next one alone. A negative number
// holds the connection up there until goOn.
func newBadRoad(t *testing.T, to string, limits ...int64) *badRoad {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	r := &badRoad{
		address: ln.Addr().String(), limits: make(chan int64, len(limits)),
		reached: make(chan struct{}, 10), goOn: make(chan struct{}, 10),
	}
	for _, limit := range limits {
		r.limits <- limit
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.(*net.TCPConn).SetReadBuffer(roadBuffer)
			go r.pass(t, conn.(*net.TCPConn), to)
		}
	}()
	return r
}

// wait waits until a connection has come to its limit.
func (r *badRoad) wait(t *testing.T) {
	t.Helper()
	select {
	case <-r.reached:
	case <-time.After(patience):
		require.Fail(t, "no connection has come so far")
	}
}

func (r *badRoad) look() {
	if p := r.sender.Load(); p != nil {
		r.peak.Store(max(r.peak.Load(), int64(peakMemory(p.Pid))))
	}
}

func (r *badRoad) pass(t *testing.T, from *net.TCPConn, to string) {
	defer from.Close()
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer there.Close()
	limit := int64(0)
	select {
	case limit = <-r.limits:
	default:
	}
	by := time.Now().Add(patience)
	_, _ = from.SetDeadline(by), there.SetDeadline(by)
	go func() {
		answers := make([]byte, 4096)
		for {
			n, err := there.Read(answers)
			r.look()
			if _, bad := from.Write(answers[:n]); err != nil || bad != nil {
				_ = from.CloseWrite()
				return
			}
		}
	}()
	if limit != 0 {
		n, _ := io.CopyN(there, from, max(limit, -limit))
		r.passed.Add(n)
		if n < max(limit, -limit) {
			r.limits <- limit // it has ended before: the limit is for the next one
			return
		}
		r.reached <- struct{}{}
		if limit > 0 {
			if limit%2 == 0 { // else it is closed
				_, _ = from.SetLinger(0), there.(*net.TCPConn).SetLinger(0)
			}
			return
		}
		select {
		case <-r.goOn:
		case <-t.Context().Done():
			return
		}
	}
	n, _ := io.Copy(there, from)
	r.passed.Add(n)
}
