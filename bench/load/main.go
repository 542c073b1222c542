// Command load drives one server of the benchmark and measures it, on Linux. It is one thread with
// one epoll, so that its own cost is the same whatever server it drives.
//
// It opens its connections, sends for the time -warmup, prints "start" and waits for a line on
// its standard input; then it measures for the time -duration, prints "end" and waits for a line
// again. The runner looks at the server in these two pauses. At last it prints its figures as one
// line of JSON. To use it by hand, give it /dev/null:
//
//	load -addr 127.0.0.1:8080 -workload echo -size 64 -conns 100 </dev/null
//
// For the workload proxy it is the client and the upstream at once: before all else it prints
// "upstream HOST:PORT", and when -addr is not given it reads the proxy's address and process id as
// a line "HOST:PORT PID".
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
	flag.IntVar(&o.pid, "pid", 0, "process id of the server, whose processor time is to be told")
	flag.StringVar(&o.workload, "workload", "echo", "echo, line, broadcast, proxy, accept, idle, firehose or udp")
	flag.IntVar(&o.size, "size", 64, "bytes of a message")
	flag.IntVar(&o.conns, "conns", 100, "connections open at a time")
	flag.IntVar(&o.depth, "depth", 1, "messages in flight on each connection; lines in each write; lines of each tick")
	flag.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "time before the measuring")
	flag.DurationVar(&o.duration, "duration", time.Second, "time of the measuring")
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
		return fmt.Errorf("-duration %v -warmup %v: must be above 0, and not below 0", o.duration, o.warmup)
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // a run allocates when it opens its connections and never after
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
				return fmt.Errorf("reading the proxy's \"HOST:PORT PID\": %w", err)
			}
		}
		t = p
	default:
		return fmt.Errorf("-workload %q: none of echo, line, broadcast, proxy, accept, idle, firehose, udp", o.workload)
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
		_, _ = runner.ReadString('\n') // the end of the input is as good as a line
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}
