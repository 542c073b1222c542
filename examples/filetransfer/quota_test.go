package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testStore(t *testing.T, l limits) *store {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return newStore(t.Context(), dir, l)
}

func testReceiver(t *testing.T, l limits) *receiver {
	t.Helper()
	return &receiver{store: testStore(t, l), addresses: map[netip.Prefix]int{}}
}

func namesIn(t *testing.T, s *store) []string {
	t.Helper()
	entries, err := fs.ReadDir(s.dir.FS(), ".")
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func headerFor(name, content string) header {
	return header{version, name, int64(len(content)), sumOf(content)}
}

var somebody, another = netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")

// received lets a sender send the beginning of a file, which ends there.
func received(s *store, name, content string, n int, from netip.Prefix) error {
	p, whole, err := openPart(context.Background(), s, headerFor(name, content), from)
	if err != nil || whole {
		return err
	}
	defer p.close()
	if err := p.begin(p.have); err != nil {
		return err
	}
	if n > int(p.have) {
		if _, err := p.Write([]byte(content[p.have:n])); err != nil {
			return err
		}
	}
	if n == len(content) {
		return p.finish()
	}
	return nil
}

func TestCheckName_RefusesNamesThatDeceiveOrEscape(t *testing.T) {
	for _, name := range []string{
		"a", "big.iso", "a name, com ç.txt", "日本語.txt", "👩\u200d🚀.png", "console", "com10", "comx", "nulls.txt", "a~b", "x~", "a.b.c", "#1",
		strings.Repeat("n", maxName),
	} {
		assert.NoError(t, checkName(name), "%q", name)
	}
	for want, names := range map[string][]string{
		"control characters, invisible": {"gpj.\u202eexe", "a\x1b[2Jb", "a\rb", "a\nb", "a\u009bb", "\u2066x", "x\u200e", "\u061cx", "a\u2028b", "a\u200bb", "a\xffb", "a\x00b", "\ufeffx"},
		"not a plain name":              {".", "..", "a/b", `a\b`, "c:x", "x:stream", "/x"},
		"not every system allows":       {"a*", "what?", `"x"`, "<x>", "a|b"},
		"would be hidden":               {".profile", "-rf", "...", ".part"},
		"ends with a space or a dot":    {" x", "x ", "x.", "x..", "\u3000x", "x\u00a0"},
		"a device of Windows":           {"con", "NUL", "nul.txt", "Com1", "LPT9.tar.gz", "com²", "aux .txt", "CONIN$"},
		"the short form":                {"BIGFIL~1.ISO", "x~1"},
		"not whole yet":                 {"x.part", "x.PART", "x.transfer.part"},
		"bytes; 241 is the most":        {strings.Repeat("n", maxName+1), strings.Repeat("日", 81)},
		"without a name":                {""},
	} {
		for _, name := range names {
			assert.ErrorContains(t, checkName(name), want, "%q", name)
		}
	}
	assert.Equal(t, key("big.ISO"), key("BIG.iso"))
	assert.Equal(t, key("ſtraße"), key("Straße"), "a file system may fold it")
}

func TestSize_IsAFlag(t *testing.T) {
	for text, want := range map[string]size{
		"0": 0, "1": 1, "10B": 10, "5kB": 5000, "5KB": 5000, "12mb": 12e6, "10GB": 10e9, "3TB": 3e12, "9000000000000000000": 9e18,
	} {
		var s size
		require.NoError(t, s.Set(text), text)
		assert.Equal(t, want, s, text)
		var again size
		require.NoError(t, again.Set(s.String()))
		assert.Equal(t, s, again)
	}
	for _, text := range []string{"", "B", "-1", "1.5GB", "10XB", "10 GB", "10G", "99999999TB", "9223372036854775808", "1e9"} {
		var s size
		assert.Error(t, s.Set(text), text)
	}
}

func TestAddressOf_CountsASiteOnce(t *testing.T) {
	of := func(text string) netip.Prefix {
		return addressOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
	}
	assert.Equal(t, of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:2"))
	assert.NotEqual(t, of("192.0.2.1:1"), of("192.0.2.2:1"))
	assert.Equal(t, of("[2001:db8::1]:1"), of("[2001:db8::ffff:1]:2"))
	assert.Equal(t, of("[fe80::1%eth0]:1"), of("[fe80::2%eth1]:1"))
	assert.NotEqual(t, of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"))
}

// A header alone makes no file, and neither does a beginning that nobody can go on from.
func TestStore_KeepsNothingThatIsOfNoUse(t *testing.T) {
	s := testStore(t, defaults)
	content := strings.Repeat("x", 3*step)
	for _, n := range []int{0, 1, step - 1} {
		require.NoError(t, received(s, "x", content, n, somebody))
		assert.Empty(t, namesIn(t, s), "%d", n)
	}
	require.NoError(t, received(s, "x", content, 2*step+5, somebody))
	assert.Equal(t, []string{"x" + suffix}, namesIn(t, s))
	require.NoError(t, received(s, "x", content, len(content), somebody))
	assert.Equal(t, []string{"x"}, namesIn(t, s))
	require.NoError(t, received(s, "empty", "", 0, somebody))
	assert.Equal(t, []string{"empty", "x"}, namesIn(t, s))
	assert.EqualValues(t, len(content), s.used)
	assert.Equal(t, 2, s.count)
	assert.Empty(t, s.unfinished)
}

func TestStore_BoundsUnfinishedFiles(t *testing.T) {
	content := strings.Repeat("x", 2*step)
	s := testStore(t, limits{parts: 3, perAddress: 2})
	for _, name := range []string{"a", "b"} {
		require.NoError(t, received(s, name, content, step, somebody))
	}
	var passes later
	err := received(s, "c", content, step, somebody)
	assert.ErrorContains(t, err, "2 unfinished files of this address")
	assert.ErrorAs(t, err, &passes)
	require.NoError(t, received(s, "c", content, step, another))
	err = received(s, "d", content, step, another)
	assert.ErrorContains(t, err, "3 unfinished files")
	assert.ErrorAs(t, err, &passes)
	assert.Len(t, namesIn(t, s), 3)

	require.NoError(t, received(s, "a", content, 2*step, somebody), "what was begun goes on")
	require.NoError(t, received(s, "d", content, step, another))
	assert.Len(t, namesIn(t, s), 4)

	both, _, err := openPart(t.Context(), s, headerFor("b", content), somebody) // it was admitted before others begin
	require.NoError(t, err)
	both.close()
	again := newStore(t.Context(), s.dir, s.limits) // after a restart
	require.NoError(t, again.sweep())
	assert.ErrorContains(t, received(again, "e", content, step, somebody), "3 unfinished files")
}

func TestStore_RemovesStaleFiles(t *testing.T) {
	s := testStore(t, limits{parts: 1, partAge: time.Hour})
	content := strings.Repeat("x", 2*step)
	write := func(name string, n int, age time.Duration) {
		require.NoError(t, s.dir.WriteFile(name, []byte(content[:n]), 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(filepath.Join(s.dir.Name(), name), at, at))
	}
	write("old"+suffix, step, 2*time.Hour)
	write("small"+suffix, step-1, 0)
	write("busy"+suffix, step, 2*time.Hour)
	write("browser.part", 10, 48*time.Hour)
	write("whole", 10, 48*time.Hour)
	require.True(t, s.claim("Busy"))
	require.NoError(t, s.sweep())
	assert.Equal(t, []string{"browser.part", "busy" + suffix, "whole"}, namesIn(t, s), "what others made is theirs")
	s.release("busy")
	s.counted = time.Time{}
	require.NoError(t, received(s, "new", content, step, somebody), "the stale one makes room")
	assert.Equal(t, []string{"browser.part", "new" + suffix, "whole"}, namesIn(t, s))
}

func TestStore_BoundsBytesAndFiles(t *testing.T) {
	hello := strings.Repeat("hello", step/5)
	s := testStore(t, limits{total: 3 * step, files: 2})
	require.NoError(t, received(s, "a", hello, len(hello), somebody))
	assert.ErrorIs(t, received(s, "b", strings.Repeat("x", 2*step+step/2), step, somebody), errFull, "announced")
	p, _, err := openPart(t.Context(), s, headerFor("b", strings.Repeat("x", 2*step)), somebody)
	require.NoError(t, err)
	require.NoError(t, s.dir.WriteFile("else", make([]byte, step), 0o600)) // by another program, or another sender
	require.NoError(t, s.sweep())
	require.NoError(t, p.begin(0))
	_, err = p.Write(make([]byte, 10))
	assert.ErrorContains(t, err, "has 2 files, and takes no more")
	p.close()
	require.NoError(t, s.dir.Remove("else"))
	require.NoError(t, s.sweep())

	p, _, err = openPart(t.Context(), s, headerFor("b", strings.Repeat("x", 2*step)), somebody)
	require.NoError(t, err)
	require.NoError(t, p.begin(0))
	_, err = p.Write(make([]byte, step))
	require.NoError(t, err)
	s.used += step // another sender's
	_, err = p.Write(make([]byte, step))
	assert.ErrorIs(t, err, errFull, "received")
	p.close()
	assert.Equal(t, []string{"a", "b" + suffix}, namesIn(t, s), "what came is kept")

	full := testStore(t, limits{free: math.MaxInt64})
	assert.ErrorIs(t, received(full, "a", "hello", 5, somebody), errNoDisk)
	assert.Empty(t, namesIn(t, full))
	h := headerFor("x", "hello")
	assert.ErrorContains(t, h.check(&limits{file: 4}), "a file of 5 B; 4B is the most")
	assert.NoError(t, h.check(&limits{file: 5}))
}

// Two names of one file, as a file system that ignores case has them, are not written at once.
func TestStore_WritesNoFileUnderTwoNames(t *testing.T) {
	s := testStore(t, limits{})
	content := strings.Repeat("x", 2*step)
	require.NoError(t, received(s, "a", content, step, somebody))
	first, _, err := openPart(t.Context(), s, headerFor("a", content), somebody)
	require.NoError(t, err)
	if err := s.dir.Link("a"+suffix, "b"+suffix); err != nil {
		t.Skip("no links here: ", err)
	}
	_, _, err = openPart(t.Context(), s, headerFor("b", content), another)
	assert.ErrorIs(t, err, errBusy)
	first.close()
	late, _, err := openPart(t.Context(), s, headerFor("c", content), another) // which is made before its first byte
	require.NoError(t, err)
	require.NoError(t, s.dir.WriteFile("c"+suffix, nil, 0o600))
	_, err = late.Write([]byte("x"))
	assert.ErrorIs(t, err, errBusy)
}

// hashed is how many bytes a store has hashed of what its hour allows.
func hashed(s *store) int64 { return s.hashes.hourly - int64(s.hashes.left) }

// A file that is there is hashed once, whoever names it, and not at all if it was received or has another size.
func TestStore_HashesOnce(t *testing.T) {
	content := strings.Repeat("x", 3*step)
	s := testStore(t, limits{hash: 4 * step})
	now := s.hashes.filled
	s.hashes.now = func() time.Time { return now }
	require.NoError(t, received(s, "mine", content, len(content), somebody))
	require.NoError(t, received(s, "mine", content, len(content), somebody))
	require.NoError(t, s.dir.WriteFile("there", []byte(content), 0o600))
	other := strings.Repeat("y", 3*step)
	assert.ErrorIs(t, received(s, "there", "short", 5, somebody), errExists)
	assert.Zero(t, hashed(s))
	for range 3 {
		assert.ErrorIs(t, received(s, "there", other, 0, somebody), errExists)
		_, whole, err := openPart(t.Context(), s, headerFor("there", content), somebody)
		require.NoError(t, err)
		assert.True(t, whole)
		assert.EqualValues(t, 3*step, hashed(s))
	}

	require.NoError(t, s.dir.WriteFile("second", []byte(content), 0o600))
	var passes later
	err := received(s, "second", content, 0, somebody)
	assert.ErrorIs(t, err, errHashed)
	assert.ErrorAs(t, err, &passes)
	assert.EqualValues(t, 3*step, hashed(s), "it is not hashed in part")
	require.NoError(t, s.dir.WriteFile("large", []byte(content+content), 0o600))
	err = received(s, "large", content+content, 0, somebody)
	assert.ErrorContains(t, err, "too large to be hashed")
	assert.False(t, assert.ObjectsAreEqual(errHashed, err))

	require.NoError(t, os.Chtimes(filepath.Join(s.dir.Name(), "there"), time.Time{}, time.Unix(1, 0)))
	assert.ErrorIs(t, received(s, "there", content, 0, somebody), errHashed, "it has changed")
	now = now.Add(time.Hour)
	_, whole, err := openPart(t.Context(), s, headerFor("there", content), somebody)
	require.NoError(t, err)
	assert.True(t, whole)
}

// What was received of a file needs no hash to go on, and after a restart one, of as much as the hour allows.
func TestStore_ContinuesWithoutHashing(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 5*step/16)
	s := testStore(t, limits{hash: 2*step + 10})
	s.hashes.now = func() time.Time { return s.hashes.filled }
	for n := step + 1; n < len(content); n += step {
		p, _, err := openPart(t.Context(), s, headerFor("x", content), somebody)
		require.NoError(t, err)
		assert.EqualValues(t, n/step*step-step, p.have)
		assert.Equal(t, sumOf(content[:p.have]), p.sum())
		p.close()
		require.NoError(t, received(s, "x", content, n, somebody))
	}
	assert.Zero(t, hashed(s))

	again := newStore(t.Context(), s.dir, s.limits)
	again.hashes.now = func() time.Time { return again.hashes.filled }
	for range 2 {
		p, _, err := openPart(t.Context(), again, headerFor("x", content), somebody)
		require.NoError(t, err)
		assert.LessOrEqual(t, p.have, int64(2*step), "the rest is sent again")
		assert.Equal(t, sumOf(content[:p.have]), p.sum())
		p.close()
		assert.Equal(t, []string{"x" + suffix}, namesIn(t, s), "who only asks removes nothing")
	}
	require.NoError(t, received(again, "x", content, len(content), somebody))
	got, err := again.dir.ReadFile("x")
	require.NoError(t, err)
	assert.Equal(t, sumOf(content), sumOf(string(got)))
}

// A sender that leaves while its file is hashed does not make the next one begin anew; and one file is hashed at a time.
func TestStore_HashesToTheEnd(t *testing.T) {
	s := testStore(t, limits{})
	require.NoError(t, s.dir.WriteFile("there", []byte(strings.Repeat("x", step)), 0o600))
	gone, leave := context.WithCancel(t.Context())
	leave()
	s.hashing <- struct{}{} // another file is hashed
	_, _, err := openPart(gone, s, header{version, "there", step, sumOf("")}, somebody)
	assert.ErrorIs(t, err, errBroken)
	<-s.hashing
	_, _, err = openPart(t.Context(), s, header{version, "there", step, sumOf("")}, somebody)
	assert.ErrorIs(t, err, errExists)
	assert.Len(t, s.hashes.of, 1)
	for i := range maxKnown + 10 {
		s.hashes.remember(fmt.Sprint(i), known{})
	}
	assert.Len(t, s.hashes.of, maxKnown)
}

// cutOff is what a receiver with these limits logs of a sender that sends script, each piece after a time.
func cutOff(t *testing.T, l limits, every time.Duration, script ...string) (answers string, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		loop := evnet.NewLoop()
		here, there := net.Pipe()
		r := testReceiver(t, l)
		c := evnet.Wrap(here, &evnet.SocketOptions{Loop: loop})
		loop.Do(func() { r.accept(c) })
		began := time.Now()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for _, piece := range script {
				if _, err := there.Write([]byte(piece)); err != nil {
					return
				}
				time.Sleep(every)
			}
		}()
		heard := make(chan string)
		go func() {
			all, _ := io.ReadAll(bufio.NewReader(there))
			took = time.Since(began)
			_ = there.Close()
			heard <- string(all)
		}()
		go loop.Run()
		answers = <-heard
		<-sent
		r.disk.Wait()
		loop.Do(func() { c.Destroy(nil) })
		synctest.Wait()
	})
	return answers, took
}

// A sender that is not silent, but sends hardly anything, does not stay.
func TestSlowSenders(t *testing.T) {
	l := limits{idle: time.Minute, slowest: 1000}
	header := fmt.Sprintf(`{"filetransfer":1,"name":"x","size":100000000,"sha256":%q}`+"\n", sumOf(""))
	answers, took := cutOff(t, l, time.Second, header)
	assert.Contains(t, answers, "no start of the file within 10s")
	assert.Less(t, took, time.Minute)

	trickle := append([]string{header, "{\"from\":0}\n"}, strings.Split(strings.Repeat("x", 200), "")...)
	_, took = cutOff(t, l, time.Second, trickle...)
	assert.GreaterOrEqual(t, took, paceTime)
	assert.Less(t, took, paceTime+10*time.Second)

	l.slowest = 1
	_, took = cutOff(t, l, time.Second/2, trickle...)
	assert.Greater(t, took, paceTime+30*time.Second, "it is fast enough")
}
