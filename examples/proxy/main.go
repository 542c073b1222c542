// Proxy relays TCP connections to other servers, with limits, timeouts, an access log and graceful shutdown:
//
//	proxy -listen :8080 -to 10.0.0.5:80,10.0.0.6:80
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: proxy -to host:port[,host:port…] [flags]

A TCP proxy: it accepts connections and relays each to a server, in both directions, until both sides have ended.
SIGTERM or an interrupt (Ctrl-C) stops it; open connections may continue for -grace.

`

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "`host:port` to listen on; port 0 takes a free one")
	to := flag.String("to", "", "`host:port` of the server; several, separated by commas, are used in turn and replace an unavailable one")
	var o options
	flag.IntVar(&o.max, "max", 1000, "maximum number of open connections; 0 for no limit")
	flag.IntVar(&o.perClient, "per-client", 0, "maximum number of open connections from one address; 0 for no limit")
	flag.DurationVar(&o.dial, "dial", 5*time.Second, "maximum time for connecting to one server")
	flag.DurationVar(&o.firstByte, "first-byte", 0, "maximum time from the accept to a client's first byte; 0 for no limit")
	flag.DurationVar(&o.idle, "idle", 5*time.Minute, "close a connection after this long without data; 0 for no limit")
	flag.DurationVar(&o.close, "close", 0, "maximum time between the end of one side and the end of the other; 0 for no limit")
	flag.DurationVar(&o.grace, "grace", 10*time.Second, "how long open connections may continue after SIGTERM or an interrupt")
	flag.Func("allow", "`addresses` that may connect, separated by commas: 10.0.0.0/8,::1 (default all)", addTo(&o.allow))
	flag.Func("deny", "`addresses` that may not connect; takes precedence over -allow", addTo(&o.deny))
	format := flag.String("log", "text", "log `format`: text or json")
	cert := flag.String("cert", "", "PEM `file` with a certificate, to use TLS with clients")
	key := flag.String("key", "", "PEM `file` with the key of -cert")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()

	var err error
	o.to, err = parseServers(*to)
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case err != nil:
	case o.max < 0 || o.perClient < 0 || min(o.dial, o.firstByte, o.idle, o.close, o.grace) < 0:
		err = errors.New("limits must not be negative")
	case o.dial == 0:
		err = errors.New("-dial must not be 0")
	case (*cert == "") != (*key == ""):
		err = errors.New("-cert and -key must be used together")
	case *format == "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	case *format == "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: safe})))
	default:
		err = fmt.Errorf("-log must be text or json, not %q", *format)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "proxy: %s (use -h for help)\n", printable.Text(err.Error()))
		os.Exit(2)
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			fail(err)
		}
		o.tls = &tls.Config{Certificates: []tls.Certificate{pair}}
	}

	p := newProxy(&o)
	if err := p.server.Listen("tcp", *listen, func() { slog.Info("listening", "address", p.server.Address().String()) }); err != nil {
		fail(err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			evnet.DefaultLoop.Post(func() { p.stop(s) })
		}
	}()
	evnet.Run() // returns when a signal has closed the server and the last connection is closed
	slog.Info("stopped", "reset", p.resets)
	if p.resets > 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "proxy:", printable.Text(err.Error()))
	os.Exit(1)
}

// safe escapes everything in a record that a terminal would interpret. slog's text handler does this itself; the JSON
// handler leaves some control characters as they are.
func safe(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(printable.Text(value))
	case error:
		a.Value = slog.StringValue(printable.Text(value.Error()))
	}
	return a
}

// parseServers parses a list of addresses separated by commas.
func parseServers(list string) ([]*upstream, error) {
	if list == "" {
		return nil, errors.New("-to is required")
	}
	var all []*upstream
	for address := range strings.SplitSeq(list, ",") {
		_, port, err := net.SplitHostPort(address)
		if err == nil && port == "" {
			err = errors.New("missing port in address")
		}
		if err != nil {
			return nil, fmt.Errorf("-to %q: %w", address, err)
		}
		all = append(all, &upstream{address: address})
	}
	return all, nil
}

// addTo returns a flag function that adds a list of rules, separated by commas, to list.
func addTo(list *evnet.BlockList) func(string) error {
	return func(text string) error {
		for rule := range strings.SplitSeq(text, ",") {
			if err := list.Add(rule); err != nil {
				return err
			}
		}
		return nil
	}
}
