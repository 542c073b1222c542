package examples_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// conversation is how many members talk, and what each says: so many lines in each round.
type conversation struct{ crowd, rounds, batch, padding int }

// theConversation is 18 long lines of each of 99 members, or 200 lines of each of 199 in the long form, unless the race
// detector makes that ten times as long: in both cases some megabytes for each member, more than the room and the kernel
// hold for one.
func theConversation() conversation {
	short := conversation{crowd: 99, rounds: 18, batch: 1, padding: 1250}
	if underRace() {
		return short
	}
	return evtest.Pick(short, conversation{crowd: 199, rounds: 40, batch: 5, padding: 100})
}

// A room of 100, or of 200 in the long form, one of whom does not read: the others talk, and each hears all that the others have said,
// in the order of each speaker, while the room drops the one by its rule and says so.
func TestChatCrowdAndOneStuck(t *testing.T) {
	// The time alone would never drop it: it is the queue that does.
	talk := theConversation()
	crowd := talk.crowd
	r := openRoom(t, "-members", fmt.Sprint(crowd+1), "-pace", "0", "-line", "1300", "-slow", "1h", "-queue", "524288")
	go func() { _, _ = io.Copy(io.Discard, r.said) }()
	stuck := r.joinStuck()
	members := make([]*chatMember, crowd)
	for i := range members {
		members[i] = r.join(name(i))
		for _, earlier := range members[:i] {
			earlier.expect("* " + name(i) + " joined")
		}
	}
	before := memory(t, r.process.Process.Pid)
	begun := time.Now()
	var all sync.WaitGroup
	failures := make(chan error, crowd)
	drops := make(chan int, crowd)
	for i, m := range members {
		all.Go(func() {
			dropped, err := m.talk(i, talk)
			if drops <- dropped; err != nil {
				failures <- fmt.Errorf("%s: %w", name(i), err)
				_ = m.conn.Close()
			}
		})
	}
	all.Wait()
	close(failures)
	close(drops)
	for err := range failures {
		assert.NoError(t, err)
	}
	told := 0
	for n := range drops {
		assert.LessOrEqual(t, n, 1)
		told += n
	}
	assert.Equal(t, crowd, told, "who has heard that the stuck one was dropped")
	t.Logf("%d lines, each heard by %d, in %v", crowd*talk.rounds*talk.batch, crowd-1, time.Since(begun).Round(time.Millisecond))
	t.Logf("the room took %d KiB more", (memory(t, r.process.Process.Pid)-before)>>10)
	assert.Less(t, memory(t, r.process.Process.Pid)-before, 64<<20)
	_, err := io.Copy(io.Discard, stuck.hears)
	assert.Error(t, err, "a reset")
	members[0].say("/who")
	members[0].expect(fmt.Sprintf("* in the room: %d", crowd))
}

func name(i int) string { return fmt.Sprintf("member-%d", i) }

// talk says the lines of a member, and hears those of all others. A round begins when all lines of the one
// before were heard: nobody can be further behind than two rounds, which is less than the queue may have.
func (m *chatMember) talk(self int, c conversation) (dropped int, err error) {
	padding := strings.Repeat("x", c.padding)
	heard := make(map[string]int, c.crowd)
	for round := range c.rounds {
		var said strings.Builder
		for i := range c.batch {
			fmt.Fprintf(&said, "%d %s\n", round*c.batch+i, padding)
		}
		if _, err := io.WriteString(m.conn, said.String()); err != nil {
			return dropped, err
		}
		for missing := (c.crowd - 1) * c.batch; missing > 0; {
			line, err := m.hears.ReadSlice('\n')
			if err != nil {
				return dropped, err
			}
			if line[0] == '*' {
				if got := string(line); got != "* stuck was dropped: too slow\n" {
					return dropped, fmt.Errorf("heard %q", got)
				}
				dropped++
				continue
			}
			speaker, rest, _ := strings.Cut(string(line), ": ")
			number := 0
			for _, digit := range rest[:strings.IndexByte(rest, ' ')] {
				number = number*10 + int(digit-'0')
			}
			if heard[speaker] != number || len(rest) != len(padding)+len(fmt.Sprint(number))+len(" \n") {
				return dropped, fmt.Errorf("line %d of %s was expected: %q", heard[speaker], speaker, rest)
			}
			if number/c.batch != round { // for the room has one order, whoever hears it
				return dropped, fmt.Errorf("round %d: line %d of %s", round, number, speaker)
			}
			heard[speaker]++
			missing--
		}
		if len(heard) != c.crowd-1 || heard[name(self)] != 0 {
			return dropped, fmt.Errorf("heard %d members, itself %d times", len(heard), heard[name(self)])
		}
	}
	return dropped, nil
}

// A stuck member cannot keep the room open.
func TestChatClosesWithAStuckMember(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("windows knows no signals")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		r := openRoom(t, "-grace", "500ms", "-pace", "0", "-queue", "1000000000", "-slow", "1h")
		ana := r.join("ana")
		r.joinStuck()
		stranger := r.connect()
		ana.expect("* stuck joined")
		line := strings.Repeat("x", 999) + "\n"
		for range 8 << 10 >> 6 { // far more than the system holds
			_, err := io.WriteString(ana.conn, strings.Repeat(line, 1<<6))
			require.NoError(t, err)
		}
		ana.say("/who")
		ana.expect("* in the room: 2", "* ana stuck")
		require.NoError(t, r.process.Process.Signal(sig))
		ana.expect("* the server closes")
		ana.expectEnd()
		stranger.expect("* the server closes")
		stranger.expectEnd()
		_ = ana.conn.Close()
		_ = stranger.conn.Close()
		rest, err := io.ReadAll(r.said)
		require.NoError(t, err)
		assert.Equal(t, "ana joined\nstuck joined\nclosed\n", string(rest))
		require.NoError(t, r.process.Wait())
		assert.Equal(t, 0, r.process.ProcessState.ExitCode())
		_, err = net.Dial("tcp", r.address)
		assert.Error(t, err)
	}
}
