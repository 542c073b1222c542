//go:build unix

package trust

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const endingVariable = "EVNET_TRUST_ENDING"

func init() { roles["terminated"] = terminated }

// terminated is a server that writes to each peer endlessly, and ends on SIGTERM.
func terminated() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
	server.On.Connection(func(s *evnet.Socket) { writeForever(l, s) })
	listening := context.Background()
	how := os.Getenv(endingVariable)
	if how == "ListenContext" {
		listening = ctx
		server.On.Close(func() { fmt.Println("closed") })
	}
	if err := server.ListenContext(listening, "tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(server.Address())
	switch how {
	case "Serve":
		_ = l.Serve(ctx)
	case "Shutdown":
		go func() {
			<-ctx.Done()
			last, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_ = server.Shutdown(last)
		}()
		l.Run()
	case "ListenContext":
		context.AfterFunc(ctx, server.CloseAllConnections)
		l.Run()
	}
	if server.Listening() || server.Connections() > 0 {
		fmt.Println("the server still has a listener or connections")
		os.Exit(1)
	}
}

// A process ends on SIGTERM before the limit, with exit status 0, although its peers read nothing and never end.
func TestShutdownBySIGTERM(t *testing.T) {
	for _, how := range []string{"Serve", "Shutdown", "ListenContext"} {
		for _, transport := range []string{"poll", "goroutine"} {
			t.Run(how+"/"+transport, func(t *testing.T) {
				cmd := childCommand("terminated", noDelay, endingVariable+"="+how, "EVNET_TRANSPORT="+transport)
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				lines := bufio.NewScanner(out)
				require.True(t, lines.Scan(), "the process did not print its address")
				address := strings.TrimSpace(lines.Text())
				for range 5 {
					c, err := net.Dial("tcp", address)
					require.NoError(t, err)
					defer c.Close()
					_, err = c.Read(make([]byte, 1)) // the server has started to write to it
					require.NoError(t, err)
				}
				hung := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
				defer hung.Stop()
				began := time.Now()
				require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
				output := ""
				for lines.Scan() {
					output += lines.Text()
				}
				assert.NoError(t, cmd.Wait(), "exit status")
				assert.Less(t, time.Since(began), endLimit)
				if how == "ListenContext" {
					assert.Equal(t, "closed", output)
				} else {
					assert.Empty(t, output)
				}
			})
		}
	}
}
