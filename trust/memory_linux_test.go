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

func init() { roles["writer to the deaf"] = writeToTheDeaf }

const (
	deafPeers   = 1000
	deafLimit   = 64 << 10 // of what waits for each
	deafPiece   = 16 << 10
	deafRounds  = 64 // of pieces: 1 MB for each, 1 GB for all where nothing stops the writer
	deafProgram = 40 << 20
)

// What a peer that never reads may cost: the limit, the piece that went beyond it, and half a piece for the
// socket, its conn and the ends of segments. The race detector keeps its own notes of each byte.
func deafBound() int {
	bound := deafProgram + deafPeers*(deafLimit+deafPiece+deafPiece/2)
	if race.Enabled {
		bound *= 4
	}
	return bound
}

// A thousand peers that never read, each written to without end, cost what the program has set, whatever
// it does about them.
func TestMemoryOfPeersThatNeverRead(t *testing.T) {
	t.Parallel()
	for i, name := range slices.Sorted(maps.Keys(transports)) {
		transport := transports[name]
		for j, policy := range []string{"refuse", "destroy", "refuse below the default mark", "time out", "drain", "pipe"} {
			if !evtest.Long() && (i+j)%2 == 1 {
				continue // the short form tries each policy on one transport
			}
			t.Run(policy+" "+name, func(t *testing.T) {
				child := play("writer to the deaf", transport)
				child.Args = append(child.Args, policy)
				stdin, err := child.StdinPipe()
				require.NoError(t, err)
				var out bytes.Buffer
				child.Stdout = &lines{w: &out, first: make(chan string, 1)}
				require.NoError(t, child.Start())
				defer bound(t, "the program does not end").Stop()
				address := <-child.Stdout.(*lines).first
				for range deafPeers {
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
				t.Logf("at most %d MB of %d, %d sockets open at the end", peak>>20, deafBound()>>20, open)
				assert.Less(t, peak, deafBound())
				if policy == "destroy" || policy == "time out" {
					assert.Zero(t, open)
				}
				if strings.HasPrefix(policy, "refuse") || policy == "destroy" || policy == "time out" {
					assert.GreaterOrEqual(t, refused, deafPeers, "writes refused")
				}
				if policy == "drain" {
					assert.Zero(t, refused, "writes refused")
				}
			})
		}
	}
}

// lines hands on the first line that is written to it, and keeps the others.
type lines struct {
	w     io.Writer
	first chan string
	said  bool
}

func (l *lines) Write(p []byte) (int, error) {
	if line, rest, ok := strings.Cut(string(p), "\n"); ok && !l.said {
		l.said = true
		l.first <- line
		_, _ = io.WriteString(l.w, rest)
		return len(p), nil
	}
	return l.w.Write(p)
}

func writeToTheDeaf() {
	policy := os.Args[1]
	opts := &evnet.ServerOptions{Logger: quiet, MaxWriteBuffer: deafLimit, HighWaterMark: deafLimit / 2}
	if policy == "refuse below the default mark" {
		opts.MaxWriteBuffer, opts.HighWaterMark = deafLimit/8, 0
	}
	if policy == "time out" {
		opts.IdleTimeout = 200 * time.Millisecond
	}
	server := evnet.NewServer(opts)
	piece := make([]byte, deafPiece)
	var sockets []*evnet.Socket
	atOnce := 0 // refused before all were there
	started := func() {
		if len(sockets) == deafPeers {
			writeAll(policy, sockets, piece, func(refused int) {
				open := 0
				for _, s := range sockets {
					if !s.Destroyed() {
						open++
					}
				}
				fmt.Println(peakMemory(), open, atOnce+refused)
				_ = server.Close(nil)
				server.CloseAllConnections()
			})
		}
	}
	server.On.Connection(func(s *evnet.Socket) {
		_ = s.Conn().(*net.TCPConn).SetWriteBuffer(4096)
		sockets = append(sockets, s)
		if policy == "time out" { // that of the first may be up when the last comes
			for err := error(nil); err == nil; _, err = s.Write(piece) {
			}
			atOnce++
		}
		started()
	})
	check(server.Listen("tcp", "127.0.0.1:0", func() { fmt.Println(server.Address()) }))
	evnet.Run()
}

// writeAll writes round after round to all, in the manner of the policy, and counts the writes that were refused.
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
		still = func(before int64) { // until the slowest holds the source back
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
		if rounds++; rounds < deafRounds {
			evnet.DefaultLoop.AfterFunc(0, round)
			return
		}
		if policy == "time out" {
			evnet.DefaultLoop.AfterFunc(600*time.Millisecond, func() { done(refused) })
			return
		}
		done(refused)
	}
	round()
}

// peakMemory is the most memory that this process has had.
func peakMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	_, err = fmt.Sscan(rest, &kilobytes)
	check(err)
	return kilobytes << 10
}
