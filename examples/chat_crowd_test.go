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

// conversation describes the load: the number of members, and the lines that each of them sends in each round.
type conversation struct{ crowd, rounds, batch, padding int }

// theConversation has 99 members that send 18 long lines each. The long form has 199 members that send 200 lines each, except
// under the race detector, which takes ten times as long. In both forms each member receives some megabytes, more than the
// room and the kernel buffer for one.
func theConversation() conversation {
	short := conversation{crowd: 99, rounds: 18, batch: 1, padding: 1250}
	if underRace() {
		return short
	}
	return evtest.Pick(short, conversation{crowd: 199, rounds: 40, batch: 5, padding: 100})
}

// The room has 100 members, or 200 in the long form, and one of them does not read. Each of the others receives all lines of the
// other members, in the order of each sender. The room disconnects the stuck member and announces it.
func TestChatCrowdAndOneStuck(t *testing.T) {
	// Only the queue limit applies: -slow is too long.
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
	announced := 0
	for n := range drops {
		assert.LessOrEqual(t, n, 1)
		announced += n
	}
	assert.Equal(t, crowd, announced, "members that received the announcement")
	t.Logf("%d lines, each received by %d members, in %v", crowd*talk.rounds*talk.batch, crowd-1, time.Since(begun).Round(time.Millisecond))
	t.Logf("the memory of the room grew by %d KiB", (memory(t, r.process.Process.Pid)-before)>>10)
	assert.Less(t, memory(t, r.process.Process.Pid)-before, 64<<20)
	_, err := io.Copy(io.Discard, stuck.input)
	assert.Error(t, err, "a reset")
	members[0].say("/who")
	members[0].expect(fmt.Sprintf("* in the room: %d", crowd))
}

func name(i int) string { return fmt.Sprintf("member-%d", i) }

// talk sends the lines of a member and reads the lines of all others. A round begins when all lines of the previous one have
// been received. So no member is more than two rounds behind, which is below the limit of the queue.
func (m *chatMember) talk(self int, c conversation) (dropped int, err error) {
	padding := strings.Repeat("x", c.padding)
	received := make(map[string]int, c.crowd)
	for round := range c.rounds {
		var sent strings.Builder
		for i := range c.batch {
			fmt.Fprintf(&sent, "%d %s\n", round*c.batch+i, padding)
		}
		if _, err := io.WriteString(m.conn, sent.String()); err != nil {
			return dropped, err
		}
		for missing := (c.crowd - 1) * c.batch; missing > 0; {
			line, err := m.input.ReadSlice('\n')
			if err != nil {
				return dropped, err
			}
			if line[0] == '*' {
				if got := string(line); got != "* stuck disconnected: too slow\n" {
					return dropped, fmt.Errorf("unexpected line %q", got)
				}
				dropped++
				continue
			}
			sender, rest, _ := strings.Cut(string(line), ": ")
			number := 0
			for _, digit := range rest[:strings.IndexByte(rest, ' ')] {
				number = number*10 + int(digit-'0')
			}
			if received[sender] != number || len(rest) != len(padding)+len(fmt.Sprint(number))+len(" \n") {
				return dropped, fmt.Errorf("want line %d of %s, got %q", received[sender], sender, rest)
			}
			if number/c.batch != round { // all members receive the same order
				return dropped, fmt.Errorf("round %d: line %d of %s", round, number, sender)
			}
			received[sender]++
			missing--
		}
		if len(received) != c.crowd-1 || received[name(self)] != 0 {
			return dropped, fmt.Errorf("received lines of %d members, %d of its own", len(received), received[name(self)])
		}
	}
	return dropped, nil
}

// A stuck member does not prevent the room from closing.
func TestChatClosesWithAStuckMember(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		r := openRoom(t, "-grace", "500ms", "-pace", "0", "-queue", "1000000000", "-slow", "1h")
		ana := r.join("ana")
		r.joinStuck()
		unnamed := r.connect()
		ana.expect("* stuck joined")
		line := strings.Repeat("x", 999) + "\n"
		for range 8 << 10 >> 6 { // far more than the kernel buffers
			_, err := io.WriteString(ana.conn, strings.Repeat(line, 1<<6))
			require.NoError(t, err)
		}
		ana.say("/who")
		ana.expect("* in the room: 2", "* ana stuck")
		require.NoError(t, r.process.Process.Signal(sig))
		ana.expect("* the server is shutting down")
		ana.expectEnd()
		unnamed.expect("* the server is shutting down")
		unnamed.expectEnd()
		_ = ana.conn.Close()
		_ = unnamed.conn.Close()
		rest, err := io.ReadAll(r.said)
		require.NoError(t, err)
		assert.Equal(t, "ana joined\nstuck joined\nclosed\n", string(rest))
		require.NoError(t, r.process.Wait())
		assert.Equal(t, 0, r.process.ProcessState.ExitCode())
		_, err = net.Dial("tcp", r.address)
		assert.Error(t, err)
	}
}
