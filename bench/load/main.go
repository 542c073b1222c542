// Command load is the load generator of the benchmark, for Linux. It drives one server and measures it.
// It has a single thread with a single epoll instance, so that its own cost is the same for every server.
//
// The command works in these steps:
//
//  1. It opens its connections and sends traffic for the time -warmup.
//  2. It prints "start" and waits for a line on its standard input.
//  3. It measures for the time -duration.
//  4. It prints "end" and waits for a line again.
//  5. It prints its figures as one line of JSON.
//
// The runner reads the state of the server during the two pauses. To use the command by hand, redirect
// its input from /dev/null:
//
//	load -addr 127.0.0.1:8080 -workload echo -size 64 -conns 100 </dev/null
//
// For the workload proxy, the command is both the client and the upstream. It first prints
// "upstream HOST:PORT". Without -addr it then reads the proxy's address and process id from a line
// "HOST:PORT PID".
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	addr             string
	pid              int
	workload         string
	size             int
	conns            int
	depth            int
	warmup, duration time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "", "`host:port` of the server")
	flag.IntVar(&o.pid, "pid", 0, "report the processor time of the server with this process id")
	flag.StringVar(&o.workload, "workload", "echo", "echo, line, broadcast, proxy, accept, idle, firehose or udp")
	flag.IntVar(&o.size, "size", 64, "bytes of a message")
	flag.IntVar(&o.conns, "conns", 100, "number of open connections")
	flag.IntVar(&o.depth, "depth", 1, "messages in flight on each connection, lines in each write (line), or lines in each tick (broadcast)")
	flag.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "duration of the warm-up")
	flag.DurationVar(&o.duration, "duration", time.Second, "duration of the measurement")
	flag.Parse()
	if err := load(&o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func load(o *options) error {
	switch {
	case o.size < 1 || o.size > maxWrite:
		return fmt.Errorf("-size %d: must be from 1 to %d", o.size, maxWrite)
	case o.conns < 1 || o.depth < 1:
		return fmt.Errorf("-conns %d -depth %d: must be at least 1", o.conns, o.depth)
	case o.duration <= 0 || o.warmup < 0:
		return fmt.Errorf("-duration %v -warmup %v: duration must be above 0, warmup must not be negative", o.duration, o.warmup)
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // a run allocates only while it opens its connections
	if err := raiseFileLimit(o.conns); err != nil {
		return err
	}
	g, err := newGenerator(o)
	if err != nil {
		return err
	}
	runner := bufio.NewReader(os.Stdin)
	var t traffic
	switch o.workload {
	case "echo", "line":
		t = &echo{generator: g, whole: o.workload == "line"}
	case "udp":
		t = &udp{generator: g}
	case "firehose":
		t = &firehose{generator: g}
	case "broadcast":
		t = &broadcast{generator: g}
	case "accept":
		t = &accept{generator: g}
	case "idle":
		t = &idle{generator: g}
	case "proxy":
		p := &proxy{generator: g}
		if err := p.listen(); err != nil {
			return err
		}
		fmt.Printf("upstream %s\n", p.address)
		if o.addr == "" {
			if _, err := fmt.Fscanln(runner, &o.addr, &o.pid); err != nil {
				return fmt.Errorf("read the proxy's \"HOST:PORT PID\": %w", err)
			}
		}
		t = p
	default:
		return fmt.Errorf("-workload %q: must be one of echo, line, broadcast, proxy, accept, idle, firehose, udp", o.workload)
	}
	server, err := netip.ParseAddrPort(o.addr)
	if err != nil || !server.Addr().Is4() {
		return fmt.Errorf("-addr %q: must be an IPv4 address and a port", o.addr)
	}
	g.server = &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}
	if err := t.open(); err != nil {
		return err
	}
	figures, err := g.measure(t, func(mark string) {
		fmt.Println(mark)
		_, _ = runner.ReadString('\n') // the end of the input counts as a line
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}
