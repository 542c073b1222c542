package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFileTransfer(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	for name, size := range map[string]int64{
		"some.bin": 8<<20 + 12345, "steps": 4 << 20, "a name, com ç.txt": 1, "empty": 0,
	} {
		path, sum := randomFile(t, name, size)
		code, stdout, stderr := transfer(t, "-connect", r.address, path)
		assert.Equal(t, 0, code, stderr)
		assert.Empty(t, stderr)
		assert.Regexp(t, `^sent "`+name+`": .* in .*, SHA-256 `+sum+"\n$", stdout)
		assert.Contains(t, r.line(), "receiving \""+name+"\" (")
		line := r.line()
		assert.True(t, strings.HasPrefix(line, "received \""+name+"\": ") && strings.HasSuffix(line, "SHA-256 "+sum), line)
		assert.Equal(t, sum, sumOf(t, filepath.Join(r.dir, name)))

		code, stdout, _ = transfer(t, "-connect", r.address, path) // as if the final reply had been lost
		assert.Equal(t, 0, code)
		assert.Contains(t, stdout, sum)
		assert.Equal(t, "\""+name+"\" already exists", r.line())
	}
	assert.Len(t, r.names(), 4, "no other files: %q", r.names())
}

// The transfer of half a gigabyte over a connection that breaks repeatedly needs as little memory as a small file.
func TestFileTransferLarge(t *testing.T) {
	t.Parallel()
	size := evtest.Pick[int64](50_000_000, 500_000_000)
	path, sum := randomFile(t, "large.bin", size)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	relay := newBadRelay(t, r.address, size/2, size/4+1, size/8)
	s := startTransfer(t, "-connect", relay.address, path)
	relay.sender.Store(s.Process)
	err := s.Wait()
	require.NoError(t, err, s.stderr.String())
	assert.Contains(t, s.stdout.String(), sum)
	assert.Equal(t, 3, strings.Count(s.stderr.String(), "retrying in "), s.stderr.String())
	assert.Equal(t, 3, strings.Count(s.stderr.String(), "resuming at "), s.stderr.String())
	assert.Less(t, relay.passed.Load(), size+size/4, "received data is not sent again")
	assert.Equal(t, sum, sumOf(t, filepath.Join(r.dir, "large.bin")))
	assert.Equal(t, []string{"large.bin"}, r.names())
	if !underRace() && runtime.GOOS == "linux" {
		assert.Positive(t, relay.peak.Load())
		assert.Less(t, relay.peak.Load(), int64(64<<20), "the sender's memory")
		assert.Less(t, peakMemory(r.Process.Pid), 64<<20, "the receiver's memory")
		t.Logf("peaks: sender %d MB, receiver %d MB", relay.peak.Load()>>20, peakMemory(r.Process.Pid)>>20)
	}
}

// If either side is interrupted or killed, the same command resumes the transfer.
func TestFileTransferInterrupted(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	const size = 16 << 20
	path, sum := randomFile(t, "some.bin", size)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	relay := newBadRelay(t, r.address, -4<<20, -2<<20, -2<<20)
	interrupted := startTransfer(t, "-connect", relay.address, path)
	relay.wait(t)
	require.NoError(t, interrupted.Process.Signal(os.Interrupt))
	_ = interrupted.Wait()
	relay.resume <- struct{}{}
	assert.Equal(t, 1, interrupted.ProcessState.ExitCode())
	assert.Empty(t, interrupted.stdout.String())
	assert.NotContains(t, interrupted.stderr.String(), "retrying")
	assert.Regexp(t, `interrupted at .* of 16\.8 MB: run the same command to resume`, interrupted.stderr.String())

	s := startTransfer(t, "-connect", relay.address, path)
	for _, how := range []os.Signal{os.Interrupt, os.Kill} {
		relay.wait(t)
		require.NoError(t, r.Process.Signal(how))
		code, printed := r.exits()
		if how == os.Interrupt {
			assert.Equal(t, 0, code)
			assert.True(t, strings.HasSuffix(printed, "closed\n"), printed)
			assert.Contains(t, r.stderr.String(), `"some.bin": connection lost: every complete megabyte is kept`)
		}
		assert.Equal(t, []string{"some.bin.transfer.part"}, r.names())
		r = startReceiver(t, r.dir, r.address)
		relay.resume <- struct{}{}
	}
	require.NoError(t, s.Wait(), s.stderr.String())
	assert.Contains(t, s.stdout.String(), sum)
	assert.Equal(t, 3, strings.Count(s.stderr.String(), "resuming at "), s.stderr.String())
	assert.Equal(t, sum, sumOf(t, filepath.Join(r.dir, "some.bin")))
}

// A part of a different file is not combined with this one.
func TestFileTransferOfAnotherFile(t *testing.T) {
	t.Parallel()
	path, _ := randomFile(t, "some.bin", 4<<20)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	part := filepath.Join(r.dir, "some.bin.transfer.part")
	for about, have := range map[string]int{"restarting from zero": 3 << 20, "": 1000} {
		require.NoError(t, os.WriteFile(part, randomBytes(have), 0o600))
		code, _, stderr := transfer(t, "-connect", r.address, path)
		assert.Equal(t, 0, code, stderr)
		assert.Contains(t, stderr, about)
		assert.Equal(t, sumOf(t, path), sumOf(t, filepath.Join(r.dir, "some.bin")))
		require.NoError(t, os.Remove(filepath.Join(r.dir, "some.bin")))
	}
	longer, err := os.ReadFile(path) // a prefix of the part is the whole file
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(part, append(longer, "and more"...), 0o600))
	code, _, stderr := transfer(t, "-connect", r.address, path)
	assert.Equal(t, 0, code, stderr)
	assert.Contains(t, stderr, "resuming at 4.2 MB")
	assert.Equal(t, sumOf(t, path), sumOf(t, filepath.Join(r.dir, "some.bin")))
}

// A file that changes during the transfer never arrives as a mixture.
func TestFileTransferOfAChangingFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(file *os.File) error
		code   int
		want   string
	}{
		"shrinks": {func(f *os.File) error { return f.Truncate(13 << 20) }, 1, "was truncated to 13631488 bytes"},
		"changes": {func(f *os.File) error { _, err := f.WriteAt([]byte("another"), 15<<20); return err }, 1, "changed during the transfer"},
		"grows":   {func(f *os.File) error { _, err := f.WriteAt([]byte("more"), 16<<20); return err }, 0, "the receiver has the original content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, sum := randomFile(t, "some.bin", 16<<20)
			r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
			relay := newBadRelay(t, r.address, -2<<20)
			s := startTransfer(t, "-connect", relay.address, path)
			relay.wait(t)
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			require.NoError(t, err)
			require.NoError(t, c.change(file))
			require.NoError(t, file.Close())
			relay.resume <- struct{}{}
			_ = s.Wait()
			assert.Equal(t, c.code, s.ProcessState.ExitCode())
			assert.Contains(t, s.stderr.String(), c.want)
			arrived := filepath.Join(r.dir, "some.bin")
			if c.code == 0 {
				assert.Equal(t, sum, sumOf(t, arrived))
			} else {
				assert.NoFileExists(t, arrived)
			}
		})
	}
}

func TestFileTransferBadUse(t *testing.T) {
	long, _ := randomFile(t, strings.Repeat("n", 242), 1)
	part, _ := randomFile(t, "x.Part", 1)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "-connect host:port", []string{"-h"}},
		{2, "exactly one of -listen and -connect is required", nil},
		{2, "exactly one of -listen and -connect is required", []string{"-listen", "a:1", "-connect", "b:1"}},
		{2, "one file to send is required", []string{"-connect", "b:1"}},
		{2, "one file to send is required", []string{"-connect", "b:1", "one", "two"}},
		{2, `unexpected argument "one"`, []string{"-listen", ":1", "one"}},
		{2, "cannot be negative", []string{"-connect", "b:1", "-idle", "-1s", "one"}},
		{2, "invalid value", []string{"-connect", "b:1", "-retries", "many", "one"}},
		{2, "invalid value", []string{"-listen", ":1", "-max-file", "much"}},
		{2, "cannot be negative", []string{"-listen", ":1", "-max-parts", "-1"}},
		{1, "no-such-file", []string{"-connect", "b:1", "no-such-file"}},
		{1, "is a directory", []string{"-connect", "b:1", "."}},
		{1, "242 bytes, more than the limit of 241", []string{"-connect", "b:1", long}},
		{1, "reserved for incomplete files", []string{"-connect", "b:1", part}},
		{1, "refused", []string{"-connect", "127.0.0.1:" + refusingPort(t), "filetransfer_test.go"}},
		{1, "missing port", []string{"-connect", "127.0.0.1", "filetransfer_test.go"}},
		{1, "missing port", []string{"-listen", "127.0.0.1"}},
		{1, "listen tcp 127.0.0.1:", []string{"-listen", taken(t)}},
		{1, "no-such-directory", []string{"-listen", "127.0.0.1:0", "-dir", "no-such-directory"}},
		{1, "not a directory", []string{"-listen", "127.0.0.1:0", "-dir", "filetransfer_test.go"}},
	} {
		code, stdout, stderr := transfer(t, c.args...)
		assert.Equal(t, c.code, code, "%q: %s", c.args, stderr)
		assert.Empty(t, stdout, "%q", c.args)
		assert.Contains(t, stderr, c.want, "%q", c.args)
		assert.NotContains(t, stderr, "goroutine", "%q", c.args)
	}
}

// The sender prints errors of the receiver's disk.
func TestFileTransferDiskRefuses(t *testing.T) {
	t.Parallel()
	const size = 12 << 20 // more than the small disk has
	path, _ := randomFile(t, "some.bin", size)
	send := func(r *transferReceiver) string {
		code, stdout, stderr := transfer(t, "-connect", r.address, path)
		assert.Equal(t, 1, code)
		assert.Empty(t, stdout)
		return stderr
	}
	t.Run("a different file exists", func(t *testing.T) {
		r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
		target := filepath.Join(r.dir, "some.bin")
		for _, have := range []int{5, size} {
			require.NoError(t, os.WriteFile(target, make([]byte, have), 0o600))
			assert.Contains(t, send(r), "a different file with this name exists")
			info, err := os.Stat(target)
			require.NoError(t, err)
			assert.EqualValues(t, have, info.Size())
		}
		require.NoError(t, os.Remove(target))
		require.NoError(t, os.Mkdir(target, 0o700))
		assert.Contains(t, send(r), "a different file with this name exists")
	})
	t.Run("the part is not a regular file", func(t *testing.T) {
		r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
		part := filepath.Join(r.dir, "some.bin.transfer.part")
		require.NoError(t, os.Mkdir(part, 0o700))
		assert.Contains(t, send(r), `"some.bin.transfer.part" exists and is not a regular file`)
		require.NoError(t, os.Remove(part))
		outside := filepath.Join(t.TempDir(), "outside")
		require.NoError(t, os.WriteFile(outside, []byte("precious"), 0o600))
		if os.Symlink(outside, part) == nil {
			assert.Contains(t, send(r), `"some.bin.transfer.part" exists and is not a regular file`)
			kept, _ := os.ReadFile(outside)
			assert.Equal(t, "precious", string(kept))
		}
	})
	t.Run("no permission", func(t *testing.T) {
		dir := "/sys" // where even root cannot create a file
		if os.Getuid() != 0 {
			dir = t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o500))
		} else if runtime.GOOS != "linux" {
			t.Skip("root may do anything")
		}
		assert.Contains(t, send(startReceiver(t, dir, "127.0.0.1:0", "-keep-free", "0")), syscall.EACCES.Error())
	})
	t.Run("the disk is full", func(t *testing.T) {
		dir := t.TempDir()
		r := &transferReceiver{t: t, dir: dir, Cmd: transferProgram(t, "-listen", "127.0.0.1:0", "-dir", dir, "-keep-free", "0")}
		onSmallDisk(t, r.Cmd, dir)
		r.start()
		assert.Contains(t, send(r), syscall.ENOSPC.Error())

		other := t.TempDir()
		r = &transferReceiver{t: t, dir: other, Cmd: transferProgram(t, "-listen", "127.0.0.1:0", "-dir", other)}
		onSmallDisk(t, r.Cmd, other)
		r.start()
		assert.Contains(t, send(r), "not enough disk space: 0 B left")
	})
}

// onSmallDisk runs a program with a disk of 8 MB at dir.
func onSmallDisk(t *testing.T, p *exec.Cmd, dir string) {
	t.Helper()
	mount := []string{"unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=8m none "$0" && exec "$@"`, dir}
	if printed, err := exec.Command(mount[0], append(mount[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a disk for the test: %v: %s", err, printed)
	}
	path, err := exec.LookPath(mount[0])
	require.NoError(t, err)
	p.Args = append(mount, append([]string{p.Path}, p.Args[1:]...)...)
	p.Path = path
}
