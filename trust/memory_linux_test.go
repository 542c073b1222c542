package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() { roles["writer to stalled peers"] = writeToStalledPeers }

const (
	stalledPeers   = 1000
	stalledLimit   = 64 << 10 // of the queue for each peer
	stalledPiece   = 16 << 10
	stalledRounds  = 64 // of pieces: 1 MB for each peer, 1 GB for all if nothing stops the writer
	stalledProgram = 40 << 20
)

// stalledBound is the memory that the peers may cost: the limit, the piece that exceeds it, and half a piece for the
// socket, its conn and the ends of segments. The race detector stores state for each byte.
func stalledBound() int {
	bound := stalledProgram + stalledPeers*(stalledLimit+stalledPiece+stalledPiece/2)
	if race.Enabled {
		bound *= 4
	}
	return bound
}

// A thousand peers that never read, each written to endlessly, use as much memory as the program's limits allow,
// whatever the program does about these peers.
func TestMemoryOfPeersThatNeverRead(t *testing.T) {
	t.Parallel()
	for i, name := range slices.Sorted(maps.Keys(transports)) {
		transport := transports[name]
		for j, policy := range []string{"refuse", "destroy", "refuse below the default mark", "timeout", "drain", "pipe"} {
			if !evtest.Long() && (i+j)%2 == 1 {
				continue // the short form tries each policy on one transport
			}
			t.Run(policy+" "+name, func(t *testing.T) {
				child := childCommand("writer to stalled peers", transport)
				child.Args = append(child.Args, policy)
				stdin, err := child.StdinPipe()
				require.NoError(t, err)
				var out bytes.Buffer
				child.Stdout = &lines{w: &out, first: make(chan string, 1)}
				require.NoError(t, child.Start())
				defer bound(t, "the program does not end").Stop()
				address := <-child.Stdout.(*lines).first
				for range stalledPeers {
					c, err := net.Dial("tcp", address)
					require.NoError(t, err)
					defer c.Close()
					_ = c.(*net.TCPConn).SetReadBuffer(4096)
				}
				require.NoError(t, child.Wait())
				_ = stdin.Close()
				var peak, open, refused int
				_, err = fmt.Sscan(out.String(), &peak, &open, &refused)
				require.NoError(t, err, out.String())
				t.Logf("at most %d MB of %d, %d sockets open at the end", peak>>20, stalledBound()>>20, open)
				assert.Less(t, peak, stalledBound())
				if policy == "destroy" || policy == "timeout" {
					assert.Zero(t, open)
				}
				if strings.HasPrefix(policy, "refuse") || policy == "destroy" || policy == "timeout" {
					assert.GreaterOrEqual(t, refused, stalledPeers, "writes refused")
				}
				if policy == "drain" {
					assert.Zero(t, refused, "writes refused")
				}
			})
		}
	}
}

// lines sends the first line that is written to it on a channel, and passes the rest to w.
type lines struct {
	w     io.Writer
	first chan string
	sent  bool
}

func (l *lines) Write(p []byte) (int, error) {
	if line, rest, ok := strings.Cut(string(p), "\n"); ok && !l.sent {
		l.sent = true
		l.first <- line
		_, _ = io.WriteString(l.w, rest)
		return len(p), nil
	}
	return l.w.Write(p)
}

func writeToStalledPeers() {
	policy := os.Args[1]
	opts := &evnet.ServerOptions{Logger: quiet, MaxWriteBuffer: stalledLimit, HighWaterMark: stalledLimit / 2}
	if policy == "refuse below the default mark" {
		opts.MaxWriteBuffer, opts.HighWaterMark = stalledLimit/8, 0
	}
	if policy == "timeout" {
		opts.IdleTimeout = 200 * time.Millisecond
	}
	server := evnet.NewServer(opts)
	piece := make([]byte, stalledPiece)
	var sockets []*evnet.Socket
	early := 0 // refused before all peers were connected
	started := func() {
		if len(sockets) == stalledPeers {
			writeAll(policy, sockets, piece, func(refused int) {
				open := 0
				for _, s := range sockets {
					if !s.Destroyed() {
						open++
					}
				}
				fmt.Println(peakMemory(), open, early+refused)
				_ = server.Close(nil)
				server.CloseAllConnections()
			})
		}
	}
	server.On.Connection(func(s *evnet.Socket) {
		_ = s.Conn().(*net.TCPConn).SetWriteBuffer(4096)
		sockets = append(sockets, s)
		if policy == "timeout" { // the timeout of the first peer may expire before the last peer connects
			for err := error(nil); err == nil; _, err = s.Write(piece) {
			}
			early++
		}
		started()
	})
	check(server.Listen("tcp", "127.0.0.1:0", func() { fmt.Println(server.Address()) }))
	evnet.Run()
}

// writeAll writes to all sockets in rounds, according to the policy, and counts the writes that were refused.
func writeAll(policy string, sockets []*evnet.Socket, piece []byte, done func(refused int)) {
	if policy == "pipe" {
		here, there := net.Pipe()
		source := evnet.Wrap(here, &evnet.SocketOptions{Logger: quiet})
		for _, s := range sockets {
			source.Pipe(s)
		}
		go func() {
			for {
				if _, err := there.Write(piece); err != nil {
					return
				}
			}
		}()
		var still func(before int64)
		still = func(before int64) { // until the slowest peer stops the source
			evnet.DefaultLoop.AfterFunc(50*time.Millisecond, func() {
				full := slices.ContainsFunc(sockets, (*evnet.Socket).NeedDrain)
				if now := source.BytesRead(); !full || now != before {
					still(now)
					return
				}
				source.Destroy(nil)
				done(0)
			})
		}
		still(0)
		return
	}
	rounds, refused := 0, 0
	var round func()
	round = func() {
		for _, s := range sockets {
			if policy == "drain" && s.NeedDrain() {
				continue
			}
			_, err := s.Write(piece)
			if !errors.Is(err, evnet.ErrWriteBufferFull) {
				continue
			}
			if refused++; policy == "destroy" {
				s.Destroy(err)
			}
		}
		if rounds++; rounds < stalledRounds {
			evnet.DefaultLoop.AfterFunc(0, round)
			return
		}
		if policy == "timeout" {
			evnet.DefaultLoop.AfterFunc(600*time.Millisecond, func() { done(refused) })
			return
		}
		done(refused)
	}
	round()
}

// peakMemory returns the peak memory of this process.
func peakMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	_, err = fmt.Sscan(rest, &kilobytes)
	check(err)
	return kilobytes << 10
}
