package main

// A workload is one table of the results.
type workload struct {
	name  string
	title string
	kind  string // its name in the flags of the load generator and of the servers
	size  int
	conns int
	depth int
	unit  string // the name of the counted unit, instead of "message"
	// The cost and the rate that the tables and charts compare. rate is nil if the workload has none.
	cost, rate *metric
}

var workloads = []workload{
	echo("echo-64-1", "Echo of 64 B, 1 connection", 64, 1, 1),
	echo("echo-64-10", "Echo of 64 B, 10 connections", 64, 10, 1),
	echo("echo-64-100", "Echo of 64 B, 100 connections", 64, 100, 1),
	echo("echo-64-1000", "Echo of 64 B, 1,000 connections", 64, 1000, 1),
	echo("echo-64-10000", "Echo of 64 B, 10,000 connections", 64, 10000, 1),
	echo("echo-64-100-depth16", "Echo of 64 B, 100 connections, 16 messages in flight on each", 64, 100, 16),
	echo("echo-1k-100", "Echo of 1 KB, 100 connections", 1<<10, 100, 1),
	echo("echo-1k-1000", "Echo of 1 KB, 1,000 connections", 1<<10, 1000, 1),
	echo("echo-16k-10", "Echo of 16 KB, 10 connections", 16<<10, 10, 1),
	echo("echo-64k-10", "Echo of 64 KB, 10 connections", 64<<10, 10, 1),
	echo("echo-1m-1", "Echo of 1 MB, 1 connection", 1<<20, 1, 1),
	{
		name: "line-100", title: "Echo of 64 B lines, 100 connections: 16 lines in each write, a separate write for each answer",
		kind: "line", size: 64, conns: 100, depth: 16, unit: "line", cost: cpuPerMessage, rate: messagesPerSecond,
	},
	{
		name: "broadcast-1000", title: "Broadcast of 64 B lines to 1,000 connections, 16 lines in each tick",
		kind: "broadcast", size: 64, conns: 1000, depth: 16, unit: "delivery", cost: cpuPerMessage, rate: messagesPerSecond,
	},
	{
		name: "proxy-64k", title: "Proxy of 64 KB writes, 8 connections up and 2 down",
		kind: "proxy", size: 64 << 10, conns: 10, depth: 1, unit: "block", cost: cpuPerGB, rate: bytesPerSecond,
	},
	{
		name: "idle-15000", title: "Memory of 15,000 idle connections",
		kind: "idle", size: 64, conns: 15000, depth: 1, unit: "connection", cost: rssPerConn,
	},
	{
		name: "accept", title: "Accept, one echo of 64 B, close: 32 connections at a time",
		kind: "accept", size: 64, conns: 32, depth: 1, unit: "connection", cost: cpuPerMessage, rate: messagesPerSecond,
	},
	{
		name: "firehose", title: "Firehose: latency of a quiet connection (64 B every 2 ms) beside one with 1 MB in flight",
		kind: "firehose", size: 64, conns: 2, depth: 1, unit: "message", cost: latency99, rate: bytesPerSecond,
	},
	udp("udp-64-1", "UDP echo of 64 B, 1 sender", 1, 1),
	udp("udp-64-16", "UDP echo of 64 B, 16 senders, 8 datagrams in flight for each", 16, 8),
}

func echo(name, title string, size, conns, depth int) workload {
	w := workload{name: name, title: title, kind: "echo", size: size, conns: conns, depth: depth, unit: "message",
		cost: cpuPerMessage, rate: messagesPerSecond}
	if size >= 16<<10 {
		w.rate = bytesPerSecond
	}
	return w
}

func udp(name, title string, conns, depth int) workload {
	return workload{name: name, title: title, kind: "udp", size: 64, conns: conns, depth: depth, unit: "datagram",
		cost: cpuPerMessage, rate: messagesPerSecond}
}

// files returns how many open files the server or the load generator needs at most.
func (w *workload) files() uint64 {
	each := uint64(1)
	if w.kind == "proxy" {
		each = 4 // two sockets, and a pipe for each direction when the kernel moves the bytes
	}
	return uint64(w.conns)*each + 64
}
