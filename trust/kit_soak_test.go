package trust

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// seed is for running a test again as it failed.
var seed = flag.Uint64("seed", 0, "of soak and churn; 0 is another one each time")

// seedOf is the seed of this run, which the log tells.
func seedOf(t testing.TB) uint64 {
	n := *seed
	for n == 0 {
		n = rand.Uint64()
	}
	t.Logf("-seed %d", n)
	return n
}

// noDelay keeps a child that has the race detector from waiting for a second before it ends.
const noDelay = "GORACE=atexit_sleep_ms=0"

// The soak's messages have their length, four bytes, in front. The first on each connection is the
// hello, which says who it is from and what is to be done.

const maxMessage = 60 << 10

// messages is a split function; a token has its length in front.
func messages(data []byte, _ bool) (int, []byte, error) {
	if len(data) < 4 {
		return 0, nil, nil
	}
	n := 4 + int(binary.BigEndian.Uint32(data))
	if len(data) < n {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// hello is the first message.
type hello struct {
	id     uint32
	manner uint8  // how the server consumes
	late   bool   // the server ends its side only when the client has
	echo   uint64 // how many bytes are sent back; what follows is only counted
}

const helloSize = 4 + 14

func (h hello) message() []byte {
	p := binary.BigEndian.AppendUint32(nil, helloSize-4)
	p = binary.BigEndian.AppendUint32(p, h.id)
	p = append(p, h.manner, 0)
	if h.late {
		p[len(p)-1] = 1
	}
	return binary.BigEndian.AppendUint64(p, h.echo)
}

func parseHello(p []byte) (h hello, ok bool) {
	if len(p) != helloSize {
		return h, false
	}
	p = p[4:]
	return hello{binary.BigEndian.Uint32(p), p[4], p[5] == 1, binary.BigEndian.Uint64(p[6:])}, true
}

// The ways to consume, on both ends; pipe is the server's alone.
const (
	byData uint8 = iota
	byOnRead
	byScan
	byPipe
	manyManners
)

// stream is one end of a connection of the soak: what it has sent and got.
type stream struct {
	sent, got       hash.Hash
	sentLen, gotLen uint64
}

func newStream() stream { return stream{sent: sha256.New(), got: sha256.New()} }

func (st *stream) noteSent(p []byte) { st.sent.Write(p); st.sentLen += uint64(len(p)) }
func (st *stream) noteGot(p []byte)  { st.got.Write(p); st.gotLen += uint64(len(p)) }

// digest tells both directions, that from the client first.
func (st *stream) digest(client bool) string {
	up, down := fmt.Sprintf("%d:%x", st.sentLen, st.sent.Sum(nil)), fmt.Sprintf("%d:%x", st.gotLen, st.got.Sum(nil))
	if !client {
		up, down = down, up
	}
	return up + " " + down
}

// erratic is a socket that is paused, resumed and corked at random, and written to in pieces.
type erratic struct {
	s     *evnet.Socket
	rng   *rand.Rand
	holds int // reasons to be paused
}

func (e *erratic) hold() {
	e.holds++
	e.s.Pause()
}

func (e *erratic) release() {
	if e.holds--; e.holds == 0 {
		e.s.Resume()
	}
}

// mayPause pauses for a moment, sometimes.
func (e *erratic) mayPause() {
	if e.rng.IntN(24) == 0 {
		e.hold()
		e.s.Loop().AfterFunc(time.Duration(e.rng.IntN(2000))*time.Microsecond, e.release)
	}
}

// write writes p in pieces, sometimes corked.
func (e *erratic) write(p []byte) error {
	switch e.rng.IntN(12) {
	case 0:
		e.s.Cork()
		defer e.s.Uncork()
	case 1:
		e.s.Cork()
		e.s.Loop().Post(e.s.Uncork)
	case 2:
		e.s.Cork()
		e.s.Loop().AfterFunc(time.Duration(e.rng.IntN(1000))*time.Microsecond, e.s.Uncork)
	}
	for len(p) > 0 {
		n := len(p)
		if e.rng.IntN(3) == 0 {
			n = 1 + e.rng.IntN(n)
		}
		if _, err := e.s.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// consume gives took what comes, in the manner given. It may replace Scan.
func (e *erratic) consume(manner uint8, took func(p []byte)) error {
	if manner != byScan {
		_ = e.s.Scan(nil, 0, nil)
	}
	switch manner {
	case byOnRead:
		return e.s.OnRead(func(p []byte) bool { took(p); return e.holds == 0 })
	case byScan:
		return e.s.Scan(messages, 4+maxMessage, took)
	case byPipe:
		err := e.s.On.Data(took).Err()
		e.s.Pipe(e.s)
		return err
	}
	return e.s.On.Data(took).Err()
}

// peakRSS is the most memory that this process has had, in MB, 0 where that cannot be told.
func peakRSS() int {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		kb := 0
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb >> 10
		}
	}
	return 0
}

// leftNothing checks that no goroutine and no descriptor was left open.
func leftNothing(t testing.TB, goroutines goleak.Option, open int) {
	t.Helper()
	goleak.VerifyNone(t, goroutines)
	require.LessOrEqual(t, descriptors(), open, "open descriptors")
}
