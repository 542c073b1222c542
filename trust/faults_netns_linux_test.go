package trust

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() { roles["network faults"] = workInANetwork }

// A network that loses and delays packets, and is down for a while, loses no byte. If it stays down, a timeout reports
// the outage.
func TestFaultsNetwork(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can create a network namespace")
	}
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("EVNET_CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := childCommand("network faults", transport)
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
			defer bound(t, "the program does not end").Stop()
			out, err := child.Output()
			if err != nil && len(out) == 0 && os.Getenv("EVNET_CI") == "" {
				t.Skipf("this system cannot create a network namespace: %v", err)
			}
			require.NoError(t, err, "%s", out)
			t.Logf("%s", out)
			lost := regexp.MustCompile(`\(dropped (\d+),`).FindSubmatch(out)
			require.NotNil(t, lost, "tc reports the lost packets")
			assert.NotEqual(t, "0", string(lost[1]), "packets lost")
		})
	}
}

func workInANetwork() {
	command("ip", "link", "set", "lo", "up")
	fmt.Println("up")
	// netem loses and delays packets at random. If it is not available, a queue that is far too short loses and
	// delays packets instead.
	if exec.Command("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "2ms", "1ms", "loss", "2%").Run() == nil {
		fmt.Println("netem")
	} else {
		command("ip", "link", "set", "lo", "mtu", "1500")
		command("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "40mbit", "burst", "8kb", "limit", "20kb")
		fmt.Println("tbf")
	}
	// Send data in both directions, with an outage of half a second in the middle.
	text := pattern(outgoing, 0, 1<<20)
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
	server.On.Connection(func(s *evnet.Socket) { s.Pipe(s); _ = server.Close(nil) })
	check(server.Listen("tcp", "127.0.0.1:0", nil))
	address := server.Address().String()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
	var got []byte
	cut := false
	s.On.Data(func(p []byte) {
		if got = append(got, p...); !cut && len(got) > len(text)/2 {
			cut = true
			command("ip", "link", "set", "lo", "down")
			l.AfterFunc(500*time.Millisecond, func() { command("ip", "link", "set", "lo", "up") })
		}
	})
	s.Connect("tcp", address)
	_, _ = s.Write(text)
	s.End()
	l.Run()
	expect(bytes.Equal(got, text) && s.Err() == nil, "everything arrived", len(got), s.Err())

	stats, _ := exec.Command("tc", "-s", "qdisc", "show", "dev", "lo").Output()
	fmt.Printf("%s", stats)

	// Then take the network down for good.
	check(server.Listen("tcp", "127.0.0.1:0", nil))
	a := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet, IdleTimeout: 300 * time.Millisecond})
	consume(a)
	a.On.Ready(func() {
		command("ip", "link", "set", "lo", "down")
		_, _ = a.Write(text)
	})
	a.On.Close(func(bool) { _ = server.Close(nil); server.CloseAllConnections() }) // the server may never have accepted it
	a.Connect("tcp", server.Address().String())
	l.Run()
	timeout, ok := a.Err().(net.Error)
	expect(ok && timeout.Timeout(), "the outage was reported", a.Err())
}

func command(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %v: %v: %s\n", name, args, err, out)
		os.Exit(1)
	}
}
