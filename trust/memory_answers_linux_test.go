package trust

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() { roles["answers"] = serveLongAnswers }

// Peers send many requests and read nothing: a line feed of one byte is answered by a kilobyte.
const (
	requestPeers = 40
	requestsEach = 96 << 10
	answerLength = 1 << 10
	answersBound = 100 << 20 // of memory, with default options
)

// With default options, peers that send requests and do not read the answers use little memory.
func TestMemoryOfUnreadAnswers(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		if name != "poll" && !evtest.Long() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			child := childCommand("answers", transport)
			stdin, err := child.StdinPipe()
			require.NoError(t, err)
			stdout, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			defer bound(t, "the program does not end").Stop()
			out := bufio.NewReader(stdout)
			address, err := out.ReadString('\n')
			require.NoError(t, err)
			for range requestPeers {
				c, err := net.Dial("tcp", address[:len(address)-1])
				require.NoError(t, err)
				defer c.Close()
				_ = c.(*net.TCPConn).SetReadBuffer(4096)
				_, err = c.Write(bytes.Repeat([]byte("\n"), requestsEach))
				require.NoError(t, err)
			}
			line, err := out.ReadString('\n')
			require.NoError(t, err)
			_ = stdin.Close()
			require.NoError(t, child.Wait())
			var peak, buffered, refused int
			_, err = fmt.Sscan(line, &peak, &buffered, &refused)
			require.NoError(t, err, line)
			t.Logf("at most %d MB of memory, %d MB buffered, %d of %d answers refused", peak>>20, buffered>>20, refused, requestPeers*requestsEach)
			assert.Positive(t, refused)
			most := answersBound
			if race.Enabled {
				most *= 4 // the race detector stores state for each byte
			}
			assert.Less(t, peak, most)
		})
	}
}

// serveLongAnswers is a server that ignores refused writes. After the last request, it prints its memory use. Then it
// waits until its input ends.
func serveLongAnswers() {
	line := bytes.Repeat([]byte("x"), answerLength)
	requests, refused := 0, 0
	server := evnet.NewServer(&evnet.ServerOptions{Logger: quiet})
	server.On.Connection(func(s *evnet.Socket) {
		_ = s.Conn().(*net.TCPConn).SetWriteBuffer(4096)
		_ = s.Scan(nil, 0, func([]byte) {
			if _, err := s.Write(line); err != nil {
				refused++
			}
			if requests++; requests == requestPeers*requestsEach {
				fmt.Println(peakMemory(), strconv.FormatInt(s.Loop().Buffered(), 10), refused)
			}
		})
	})
	check(server.Listen("tcp", "127.0.0.1:0", func() { fmt.Println(server.Address()) }))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	evnet.Run()
}
