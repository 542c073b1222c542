package main

import (
	"regexp"
	"slices"
)

// An implementation is one row of the tables: a server program with its flags.
type implementation struct {
	name    string
	program string // its directory in servers
	module  string // whose version the tables tell
	flags   []string
	rival   bool // one of those of which the best is a measure
	// only is matched against the workload; nil takes all.
	only *regexp.Regexp
}

const (
	plainNet = "plain net"
	quickest = "gnet" // the rival of a quick run
)

var (
	streams  = regexp.MustCompile(`^(echo|idle|accept|firehose|line|broadcast|proxy)-?`)
	udps     = regexp.MustCompile(`^udp-`)
	echoes   = regexp.MustCompile(`^(echo|idle|accept|firehose)-?`)
	appOwn   = regexp.MustCompile(`^(line|broadcast)-`)
	proxies  = regexp.MustCompile(`^proxy-`)
	twoLoops = regexp.MustCompile(`^(echo-64-100|echo-1k-1000)$`)
)

// implementations are in the order of the tables. What a program has no way to do it says itself.
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

// takers are the implementations of that workload.
func (w *workload) takers(chosen func(implementation) bool) (takers []implementation) {
	for _, impl := range implementations {
		if (impl.only == nil || impl.only.MatchString(w.name)) && chosen(impl) {
			takers = append(takers, impl)
		}
	}
	return takers
}

// quickPlan is the least that fills the table of reaches: the implementations that it names,
// plain net and one rival, and only the workloads that it names.
func quickPlan() (plan []task) {
	for i := range workloads {
		w := &workloads[i]
		var named []string
		for _, r := range reaches {
			if r.workload == w.name || r.against.workload == w.name {
				named = append(named, r.impl)
			}
		}
		if len(named) == 0 {
			continue
		}
		named = append(named, plainNet, quickest)
		plan = append(plan, task{w, w.takers(func(i implementation) bool { return slices.Contains(named, i.name) })})
	}
	return plan
}
