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

// buildTransfer builds the file transfer. It is a separate module because its progress bar has dependencies.
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

// underRace reports whether the tests, and so the programs, are built with the race detector.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// transferProgram returns a command. It skips the test if the modules of the progress bar cannot be downloaded.
func transferProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if err := buildTransfer(); err != nil {
		if os.Getenv("EVNET_CI") == "" && strings.HasPrefix(err.Error(), "go mod download") {
			t.Skip("cannot download the modules of the progress bar: ", err)
		}
		require.NoError(t, err)
	}
	return program(t, "filetransfer", args...)
}

// transfer runs a sender until it exits.
func transfer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := startTransfer(t, args...)
	_ = p.Wait()
	return p.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()
}

// transferProcess is a running sender or receiver.
type transferProcess struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer // complete after Wait
}

func startTransfer(t *testing.T, args ...string) *transferProcess {
	t.Helper()
	p := &transferProcess{Cmd: transferProgram(t, args...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.Start())
	return p
}

// transferReceiver is a running receiver.
type transferReceiver struct {
	*exec.Cmd
	t            *testing.T
	dir, address string
	output       *bufio.Reader
	stderr       bytes.Buffer // complete after exits
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
	r.output = bufio.NewReader(stdout)
	r.address = strings.TrimPrefix(r.line(), "listening on ")
}

// line returns the next line that the receiver prints.
func (r *transferReceiver) line() string {
	r.t.Helper()
	line, err := r.output.ReadString('\n')
	require.NoError(r.t, err, "after %q", line)
	return strings.TrimSuffix(line, "\n")
}

// exits waits until the receiver exits and returns the rest of its output.
func (r *transferReceiver) exits() (code int, stdout string) {
	rest, _ := io.ReadAll(r.output)
	_ = r.Wait()
	return r.ProcessState.ExitCode(), string(rest)
}

// names returns the names of the files in the receiver's directory.
func (r *transferReceiver) names() []string {
	entries, err := os.ReadDir(r.dir)
	require.NoError(r.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// peakMemory returns the peak memory of a process in bytes, or 0 if the operating system does not report it.
func peakMemory(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes := 0
	_, _ = fmt.Sscan(rest, &kilobytes) // a process that has exited reports none
	return kilobytes << 10
}

// randomFile creates a file and returns its path and its SHA-256.
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

// relayBuffer is the kernel's receive buffer on the sender's side of a badRelay. It is small, so that the sender of a few megabytes is still
// in the middle of the file when its connection is paused or cut.
const relayBuffer = 128 << 10

// badRelay relays connections to an address, each one up to a limit of bytes.
type badRelay struct {
	address string
	limits  chan int64
	reached chan struct{} // receives a value each time a connection reaches its limit
	resume  chan struct{} // a paused connection waits for a value
	passed  atomic.Int64

	sender atomic.Pointer[os.Process] // its memory is measured before each reply
	peak   atomic.Int64
}

// newBadRelay cuts the first connections after the given numbers of bytes, and does not limit later ones. A negative number pauses the
// connection there until resume receives a value.
func newBadRelay(t *testing.T, to string, limits ...int64) *badRelay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	r := &badRelay{
		address: ln.Addr().String(), limits: make(chan int64, len(limits)),
		reached: make(chan struct{}, 10), resume: make(chan struct{}, 10),
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
			_ = conn.(*net.TCPConn).SetReadBuffer(relayBuffer)
			go r.relay(t, conn.(*net.TCPConn), to)
		}
	}()
	return r
}

// wait waits until a connection has reached its limit.
func (r *badRelay) wait(t *testing.T) {
	t.Helper()
	select {
	case <-r.reached:
	case <-time.After(patience):
		require.Fail(t, "no connection has reached its limit")
	}
}

func (r *badRelay) measure() {
	if p := r.sender.Load(); p != nil {
		r.peak.Store(max(r.peak.Load(), int64(peakMemory(p.Pid))))
	}
}

func (r *badRelay) relay(t *testing.T, from *net.TCPConn, to string) {
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
			r.measure()
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
			r.limits <- limit // the connection ended before: keep the limit for the next one
			return
		}
		r.reached <- struct{}{}
		if limit > 0 {
			if limit%2 == 0 { // otherwise close without a reset
				_, _ = from.SetLinger(0), there.(*net.TCPConn).SetLinger(0)
			}
			return
		}
		select {
		case <-r.resume:
		case <-t.Context().Done():
			return
		}
	}
	n, _ := io.Copy(there, from)
	r.passed.Add(n)
}
