package main

import (
	"regexp"
	"slices"
)

// An implementation is one row of the tables: a server program with its flags.
type implementation struct {
	name    string
	program string // directory below servers
	module  string // the results list its version
	flags   []string
	rival   bool // considered when the best rival is chosen
	// only matches the names of the workloads that it runs; nil matches all.
	only *regexp.Regexp
}

const (
	plainNet   = "plain net"
	quickRival = "gnet" // the rival of a quick run
)

var (
	streams  = regexp.MustCompile(`^(echo|idle|accept|firehose|line|broadcast|proxy)-?`)
	udps     = regexp.MustCompile(`^udp-`)
	echoes   = regexp.MustCompile(`^(echo|idle|accept|firehose)-?`)
	appOwn   = regexp.MustCompile(`^(line|broadcast)-`)
	proxies  = regexp.MustCompile(`^proxy-`)
	twoLoops = regexp.MustCompile(`^(echo-64-100|echo-1k-1000)$`)
)

// implementations lists the rows in the order of the tables. A program reports a workload that it does
// not support when it is started.
var implementations = []implementation{
	{name: "evnet onread", program: "evnet", flags: []string{"-mode", "onread"}, only: echoes},
	{name: "evnet data", program: "evnet", flags: []string{"-mode", "data"}, only: echoes},
	{name: "evnet pipe", program: "evnet", flags: []string{"-mode", "pipe"}, only: echoes},
	{name: "evnet onread 2 loops", program: "evnet", flags: []string{"-mode", "onread", "-loops", "2"}, only: twoLoops},
	{name: "evnet scan", program: "evnet", only: appOwn},
	{name: "evnet relay", program: "evnet", only: proxies},
	{name: "evnet dgram onread", program: "evnet", flags: []string{"-mode", "onread"}, only: udps},
	{name: "evnet dgram message", program: "evnet", flags: []string{"-mode", "data"}, only: udps},
	{name: plainNet, program: "plain"},
	{name: "gnet", program: "gnet", module: "github.com/panjf2000/gnet/v2", rival: true, only: streams},
	{name: "nbio", program: "nbio", module: "github.com/lesismal/nbio", rival: true, only: streams},
	{name: "netpoll", program: "netpoll", module: "github.com/cloudwego/netpoll", rival: true, only: streams},
	{name: "evio", program: "evio", module: "github.com/tidwall/evio", rival: true, only: streams},
	{name: "gev", program: "gev", module: "github.com/Allenxuxu/gev", rival: true, only: streams},
	{name: "Node", program: "node", only: streams},
	{name: "C epoll", program: "c", only: streams},
}

// implementations returns the implementations that run the workload and for which chosen returns true.
func (w *workload) implementations(chosen func(implementation) bool) (list []implementation) {
	for _, impl := range implementations {
		if (impl.only == nil || impl.only.MatchString(w.name)) && chosen(impl) {
			list = append(list, impl)
		}
	}
	return list
}

// quickPlan returns the smallest plan that fills the table of targets: the workloads of the targets,
// each with the implementations that its targets name, plain net and one rival.
func quickPlan() (plan []task) {
	for i := range workloads {
		w := &workloads[i]
		var named []string
		for _, r := range targets {
			if r.workload == w.name || r.against.workload == w.name {
				named = append(named, r.impl)
			}
		}
		if len(named) == 0 {
			continue
		}
		named = append(named, plainNet, quickRival)
		plan = append(plan, task{w, w.implementations(func(i implementation) bool { return slices.Contains(named, i.name) })})
	}
	return plan
}
