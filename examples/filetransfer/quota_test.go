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

var firstSender, secondSender = netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")

// receiveSome receives the first n bytes of a file and then closes the part.
func receiveSome(s *store, name, content string, n int, from netip.Prefix) error {
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
		"control characters, invisible":       {"gpj.\u202eexe", "a\x1b[2Jb", "a\rb", "a\nb", "a\u009bb", "\u2066x", "x\u200e", "\u061cx", "a\u2028b", "a\u200bb", "a\xffb", "a\x00b", "\ufeffx"},
		"not a plain name":                    {".", "..", "a/b", `a\b`, "c:x", "x:stream", "/x"},
		"some operating systems do not allow": {"a*", "what?", `"x"`, "<x>", "a|b"},
		"would be hidden":                     {".profile", "-rf", "...", ".part"},
		"ends with a space or a dot":          {" x", "x ", "x.", "x..", "\u3000x", "x\u00a0"},
		"the name of a Windows device":        {"con", "NUL", "nul.txt", "Com1", "LPT9.tar.gz", "com²", "aux .txt", "CONIN$"},
		"the short form":                      {"BIGFIL~1.ISO", "x~1"},
		"reserved for incomplete files":       {"x.part", "x.PART", "x.transfer.part"},
		"bytes, more than the limit of 241":   {strings.Repeat("n", maxName+1), strings.Repeat("日", 81)},
		"empty file name":                     {""},
	} {
		for _, name := range names {
			assert.ErrorContains(t, checkName(name), want, "%q", name)
		}
	}
	assert.Equal(t, key("big.ISO"), key("BIG.iso"))
	assert.Equal(t, key("ſtraße"), key("Straße"), "a file system may fold the case")
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

// A header alone creates no file. A part that is too small to resume from is removed.
func TestStore_KeepsNothingThatIsOfNoUse(t *testing.T) {
	s := testStore(t, defaults)
	content := strings.Repeat("x", 3*step)
	for _, n := range []int{0, 1, step - 1} {
		require.NoError(t, receiveSome(s, "x", content, n, firstSender))
		assert.Empty(t, namesIn(t, s), "%d", n)
	}
	require.NoError(t, receiveSome(s, "x", content, 2*step+5, firstSender))
	assert.Equal(t, []string{"x" + suffix}, namesIn(t, s))
	require.NoError(t, receiveSome(s, "x", content, len(content), firstSender))
	assert.Equal(t, []string{"x"}, namesIn(t, s))
	require.NoError(t, receiveSome(s, "empty", "", 0, firstSender))
	assert.Equal(t, []string{"empty", "x"}, namesIn(t, s))
	assert.EqualValues(t, len(content), s.used)
	assert.Equal(t, 2, s.count)
	assert.Empty(t, s.unfinished)
}

func TestStore_BoundsUnfinishedFiles(t *testing.T) {
	content := strings.Repeat("x", 2*step)
	s := testStore(t, limits{parts: 3, perAddress: 2})
	for _, name := range []string{"a", "b"} {
		require.NoError(t, receiveSome(s, name, content, step, firstSender))
	}
	var temporary temporaryError
	err := receiveSome(s, "c", content, step, firstSender)
	assert.ErrorContains(t, err, "too many unfinished files from this address: the limit is 2")
	assert.ErrorAs(t, err, &temporary)
	require.NoError(t, receiveSome(s, "c", content, step, secondSender))
	err = receiveSome(s, "d", content, step, secondSender)
	assert.ErrorContains(t, err, "too many unfinished files: the limit is 3")
	assert.ErrorAs(t, err, &temporary)
	assert.Len(t, namesIn(t, s), 3)

	require.NoError(t, receiveSome(s, "a", content, 2*step, firstSender), "an existing part can be resumed")
	require.NoError(t, receiveSome(s, "d", content, step, secondSender))
	assert.Len(t, namesIn(t, s), 4)

	both, _, err := openPart(t.Context(), s, headerFor("b", content), firstSender) // admitted before other senders start
	require.NoError(t, err)
	both.close()
	again := newStore(t.Context(), s.dir, s.limits) // after a restart
	require.NoError(t, again.sweep())
	assert.ErrorContains(t, receiveSome(again, "e", content, step, firstSender), "too many unfinished files: the limit is 3")
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
	assert.Equal(t, []string{"browser.part", "busy" + suffix, "whole"}, namesIn(t, s), "files of other programs are kept")
	s.release("busy")
	s.counted = time.Time{}
	require.NoError(t, receiveSome(s, "new", content, step, firstSender), "removing the stale file makes room")
	assert.Equal(t, []string{"browser.part", "new" + suffix, "whole"}, namesIn(t, s))
}

func TestStore_BoundsBytesAndFiles(t *testing.T) {
	hello := strings.Repeat("hello", step/5)
	s := testStore(t, limits{total: 3 * step, files: 2})
	require.NoError(t, receiveSome(s, "a", hello, len(hello), firstSender))
	assert.ErrorIs(t, receiveSome(s, "b", strings.Repeat("x", 2*step+step/2), step, firstSender), errFull, "announced")
	p, _, err := openPart(t.Context(), s, headerFor("b", strings.Repeat("x", 2*step)), firstSender)
	require.NoError(t, err)
	require.NoError(t, s.dir.WriteFile("else", make([]byte, step), 0o600)) // written by another program or another sender
	require.NoError(t, s.sweep())
	require.NoError(t, p.begin(0))
	_, err = p.Write(make([]byte, 10))
	assert.ErrorContains(t, err, "too many files in the directory: the limit is 2")
	p.close()
	require.NoError(t, s.dir.Remove("else"))
	require.NoError(t, s.sweep())

	p, _, err = openPart(t.Context(), s, headerFor("b", strings.Repeat("x", 2*step)), firstSender)
	require.NoError(t, err)
	require.NoError(t, p.begin(0))
	_, err = p.Write(make([]byte, step))
	require.NoError(t, err)
	s.used += step // by another sender
	_, err = p.Write(make([]byte, step))
	assert.ErrorIs(t, err, errFull, "received")
	p.close()
	assert.Equal(t, []string{"a", "b" + suffix}, namesIn(t, s), "received data is kept")

	full := testStore(t, limits{free: math.MaxInt64})
	assert.ErrorIs(t, receiveSome(full, "a", "hello", 5, firstSender), errNoDisk)
	assert.Empty(t, namesIn(t, full))
	h := headerFor("x", "hello")
	assert.ErrorContains(t, h.check(&limits{file: 4}), "a file of 5 B exceeds the limit of 4B")
	assert.NoError(t, h.check(&limits{file: 5}))
}

// Two names of one file, as on a case-insensitive file system, are not written at the same time.
func TestStore_WritesNoFileUnderTwoNames(t *testing.T) {
	s := testStore(t, limits{})
	content := strings.Repeat("x", 2*step)
	require.NoError(t, receiveSome(s, "a", content, step, firstSender))
	first, _, err := openPart(t.Context(), s, headerFor("a", content), firstSender)
	require.NoError(t, err)
	if err := s.dir.Link("a"+suffix, "b"+suffix); err != nil {
		t.Skip("this file system has no links: ", err)
	}
	_, _, err = openPart(t.Context(), s, headerFor("b", content), secondSender)
	assert.ErrorIs(t, err, errBusy)
	first.close()
	late, _, err := openPart(t.Context(), s, headerFor("c", content), secondSender) // another program creates the file before the first byte
	require.NoError(t, err)
	require.NoError(t, s.dir.WriteFile("c"+suffix, nil, 0o600))
	_, err = late.Write([]byte("x"))
	assert.ErrorIs(t, err, errBusy)
}

// hashedBytes returns how many bytes of its hourly limit a store has hashed.
func hashedBytes(s *store) int64 { return s.hashes.hourly - int64(s.hashes.left) }

// An existing file is hashed once, however often it is named. It is not hashed if this store received it or if the size differs.
func TestStore_HashesOnce(t *testing.T) {
	content := strings.Repeat("x", 3*step)
	s := testStore(t, limits{hash: 4 * step})
	now := s.hashes.filled
	s.hashes.now = func() time.Time { return now }
	require.NoError(t, receiveSome(s, "mine", content, len(content), firstSender))
	require.NoError(t, receiveSome(s, "mine", content, len(content), firstSender))
	require.NoError(t, s.dir.WriteFile("there", []byte(content), 0o600))
	other := strings.Repeat("y", 3*step)
	assert.ErrorIs(t, receiveSome(s, "there", "short", 5, firstSender), errExists)
	assert.Zero(t, hashedBytes(s))
	for range 3 {
		assert.ErrorIs(t, receiveSome(s, "there", other, 0, firstSender), errExists)
		_, whole, err := openPart(t.Context(), s, headerFor("there", content), firstSender)
		require.NoError(t, err)
		assert.True(t, whole)
		assert.EqualValues(t, 3*step, hashedBytes(s))
	}

	require.NoError(t, s.dir.WriteFile("second", []byte(content), 0o600))
	var temporary temporaryError
	err := receiveSome(s, "second", content, 0, firstSender)
	assert.ErrorIs(t, err, errHashed)
	assert.ErrorAs(t, err, &temporary)
	assert.EqualValues(t, 3*step, hashedBytes(s), "the file is not hashed partially")
	require.NoError(t, s.dir.WriteFile("large", []byte(content+content), 0o600))
	err = receiveSome(s, "large", content+content, 0, firstSender)
	assert.ErrorContains(t, err, "too large to hash")
	assert.False(t, assert.ObjectsAreEqual(errHashed, err))

	require.NoError(t, os.Chtimes(filepath.Join(s.dir.Name(), "there"), time.Time{}, time.Unix(1, 0)))
	assert.ErrorIs(t, receiveSome(s, "there", content, 0, firstSender), errHashed, "the file has changed")
	now = now.Add(time.Hour)
	_, whole, err := openPart(t.Context(), s, headerFor("there", content), firstSender)
	require.NoError(t, err)
	assert.True(t, whole)
}

// Resuming a received part needs no hashing. After a restart, the part is hashed within the hourly limit.
func TestStore_ContinuesWithoutHashing(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 5*step/16)
	s := testStore(t, limits{hash: 2*step + 10})
	s.hashes.now = func() time.Time { return s.hashes.filled }
	for n := step + 1; n < len(content); n += step {
		p, _, err := openPart(t.Context(), s, headerFor("x", content), firstSender)
		require.NoError(t, err)
		assert.EqualValues(t, n/step*step-step, p.have)
		assert.Equal(t, sumOf(content[:p.have]), p.sum())
		p.close()
		require.NoError(t, receiveSome(s, "x", content, n, firstSender))
	}
	assert.Zero(t, hashedBytes(s))

	again := newStore(t.Context(), s.dir, s.limits)
	again.hashes.now = func() time.Time { return again.hashes.filled }
	for range 2 {
		p, _, err := openPart(t.Context(), again, headerFor("x", content), firstSender)
		require.NoError(t, err)
		assert.LessOrEqual(t, p.have, int64(2*step), "the rest is sent again")
		assert.Equal(t, sumOf(content[:p.have]), p.sum())
		p.close()
		assert.Equal(t, []string{"x" + suffix}, namesIn(t, s), "opening a part removes nothing")
	}
	require.NoError(t, receiveSome(again, "x", content, len(content), firstSender))
	got, err := again.dir.ReadFile("x")
	require.NoError(t, err)
	assert.Equal(t, sumOf(content), sumOf(string(got)))
}

// A hash continues if its sender disconnects, so the next sender does not restart it. One file is hashed at a time.
func TestStore_HashesToTheEnd(t *testing.T) {
	s := testStore(t, limits{})
	require.NoError(t, s.dir.WriteFile("there", []byte(strings.Repeat("x", step)), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.hashing <- struct{}{} // another file is being hashed
	_, _, err := openPart(ctx, s, header{version, "there", step, sumOf("")}, firstSender)
	assert.ErrorIs(t, err, errBroken)
	<-s.hashing
	_, _, err = openPart(t.Context(), s, header{version, "there", step, sumOf("")}, firstSender)
	assert.ErrorIs(t, err, errExists)
	assert.Len(t, s.hashes.byName, 1)
	for i := range maxKnown + 10 {
		s.hashes.remember(fmt.Sprint(i), known{})
	}
	assert.Len(t, s.hashes.byName, maxKnown)
}

// cutOff runs a receiver with these limits and a sender that sends one piece of script in each interval. It returns the replies and the
// time until the receiver closes the connection.
func cutOff(t *testing.T, l limits, every time.Duration, script ...string) (replies string, took time.Duration) {
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
		received := make(chan string)
		go func() {
			all, _ := io.ReadAll(bufio.NewReader(there))
			took = time.Since(began)
			_ = there.Close()
			received <- string(all)
		}()
		go loop.Run()
		replies = <-received
		<-sent
		r.disk.Wait()
		loop.Do(func() { c.Destroy(nil) })
		synctest.Wait()
	})
	return replies, took
}

// A sender that is slower than the limit is disconnected even if it is not idle.
func TestSlowSenders(t *testing.T) {
	l := limits{idle: time.Minute, slowest: 1000}
	header := fmt.Sprintf(`{"filetransfer":1,"name":"x","size":100000000,"sha256":%q}`+"\n", sumOf(""))
	replies, took := cutOff(t, l, time.Second, header)
	assert.Contains(t, replies, "no start message within 10s")
	assert.Less(t, took, time.Minute)

	trickle := append([]string{header, "{\"from\":0}\n"}, strings.Split(strings.Repeat("x", 200), "")...)
	_, took = cutOff(t, l, time.Second, trickle...)
	assert.GreaterOrEqual(t, took, paceTime)
	assert.Less(t, took, paceTime+10*time.Second)

	l.slowest = 1
	_, took = cutOff(t, l, time.Second/2, trickle...)
	assert.Greater(t, took, paceTime+30*time.Second, "fast enough")
}
