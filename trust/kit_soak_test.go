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

// seed is for running a failed test again with the same random choices.
var seed = flag.Uint64("seed", 0, "seed of the soak and churn tests; 0 draws a new one for each run")

// seedOf returns the seed of this run and logs it.
func seedOf(t testing.TB) uint64 {
	n := *seed
	for n == 0 {
		n = rand.Uint64()
	}
	t.Logf("-seed %d", n)
	return n
}

// noDelay disables the second that a process with the race detector waits before it exits.
const noDelay = "GORACE=atexit_sleep_ms=0"

// Each message of the soak test starts with its length, in four bytes. The first message on each connection is the
// hello: it has the client's identity and says what the server must do.

const maxMessage = 60 << 10

// messages is a split function. A token includes its length prefix.
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
	manner uint8  // how the server consumes the stream
	late   bool   // the server ends its side only after the client has ended
	echo   uint64 // how many bytes the server echoes; it only counts the rest
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

// The ways to consume on both ends. Only the server uses byPipe.
const (
	byData uint8 = iota
	byOnRead
	byScan
	byPipe
	manyManners
)

// stream is what one end of a soak connection has sent and received.
type stream struct {
	sent, got       hash.Hash
	sentLen, gotLen uint64
}

func newStream() stream { return stream{sent: sha256.New(), got: sha256.New()} }

func (st *stream) noteSent(p []byte) { st.sent.Write(p); st.sentLen += uint64(len(p)) }
func (st *stream) noteGot(p []byte)  { st.got.Write(p); st.gotLen += uint64(len(p)) }

// digest returns the length and hash of both directions, client to server first.
func (st *stream) digest(client bool) string {
	up, down := fmt.Sprintf("%d:%x", st.sentLen, st.sent.Sum(nil)), fmt.Sprintf("%d:%x", st.gotLen, st.got.Sum(nil))
	if !client {
		up, down = down, up
	}
	return up + " " + down
}

// erratic is a socket that is paused, resumed and corked at random, and whose writes are split.
type erratic struct {
	s     *evnet.Socket
	rng   *rand.Rand
	holds int // reasons to stay paused
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

// mayPause sometimes pauses for a moment.
func (e *erratic) mayPause() {
	if e.rng.IntN(24) == 0 {
		e.hold()
		e.s.Loop().AfterFunc(time.Duration(e.rng.IntN(2000))*time.Microsecond, e.release)
	}
}

// write writes p in pieces, and sometimes corks the socket first.
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

// consume passes received data to receive, in the given manner. It may replace Scan.
func (e *erratic) consume(manner uint8, receive func(p []byte)) error {
	if manner != byScan {
		_ = e.s.Scan(nil, 0, nil)
	}
	switch manner {
	case byOnRead:
		return e.s.OnRead(func(p []byte) bool { receive(p); return e.holds == 0 })
	case byScan:
		return e.s.Scan(messages, 4+maxMessage, receive)
	case byPipe:
		err := e.s.On.Data(receive).Err()
		e.s.Pipe(e.s)
		return err
	}
	return e.s.On.Data(receive).Err()
}

// peakRSS returns the peak memory of this process in MB, or 0 if it is unknown.
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

// leftNothing checks that no goroutine and no descriptor is left.
func leftNothing(t testing.TB, goroutines goleak.Option, open int) {
	t.Helper()
	goleak.VerifyNone(t, goroutines)
	require.LessOrEqual(t, descriptors(), open, "open descriptors")
}
