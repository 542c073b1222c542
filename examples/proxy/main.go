// Proxy passes TCP connections on to other servers, with limits, timeouts, an access log and an orderly end:
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

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "`host:port` to listen at; port 0 takes a free one")
	to := flag.String("to", "", "`host:port` to pass on to; several, with commas between, take turns, and step in for one that is down")
	var o options
	flag.IntVar(&o.max, "max", 1000, "how many connections may be open at once; 0: any number")
	flag.IntVar(&o.perClient, "per-client", 0, "how many of them from one address; 0: any number")
	flag.DurationVar(&o.dial, "dial", 5*time.Second, "how long connecting to one server may take")
	flag.DurationVar(&o.firstByte, "first-byte", 0, "how long a client may wait before its first byte; 0: forever")
	flag.DurationVar(&o.idle, "idle", 5*time.Minute, "how long a connection may be silent; 0: forever")
	flag.DurationVar(&o.close, "close", 0, "how long a connection may go on after one side has ended; 0: forever")
	flag.DurationVar(&o.grace, "grace", 10*time.Second, "how long open connections may go on after SIGTERM or an interrupt")
	flag.Func("allow", "`addresses` that may connect, with commas between: 10.0.0.0/8,::1; default: all", addTo(&o.allow))
	flag.Func("deny", "`addresses` that may not, even if allowed", addTo(&o.deny))
	format := flag.String("log", "text", "the form of the log: text or json")
	cert := flag.String("cert", "", "`file` with a certificate, to speak TLS with clients")
	key := flag.String("key", "", "`file` with its key")
	flag.Parse()

	var err error
	o.to, err = servers(*to)
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("what is %q?", flag.Arg(0))
	case err != nil:
	case o.max < 0 || o.perClient < 0 || min(o.dial, o.firstByte, o.idle, o.close, o.grace) < 0:
		err = errors.New("a limit cannot be negative")
	case o.dial == 0:
		err = errors.New("-dial cannot be 0")
	case (*cert == "") != (*key == ""):
		err = errors.New("-cert and -key go together")
	case *format == "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	case *format == "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: safe})))
	default:
		err = fmt.Errorf("-log %q is neither text nor json", *format)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "proxy: %s\nproxy -h tells how it is used\n", printable.Text(err.Error()))
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
	evnet.Run() // until a signal has closed the server and the last connection is over
	slog.Info("stopped", "cut", p.cut)
	if p.cut > 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "proxy:", printable.Text(err.Error()))
	os.Exit(1)
}

// safe escapes what a terminal would obey in a record. The text handler of slog does so by itself; the JSON handler leaves
// some control characters as they are.
func safe(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(printable.Text(value))
	case error:
		a.Value = slog.StringValue(printable.Text(value.Error()))
	}
	return a
}

// servers are those of a list with commas.
func servers(list string) ([]*upstream, error) {
	if list == "" {
		return nil, errors.New("-to host:port is missing")
	}
	var all []*upstream
	for address := range strings.SplitSeq(list, ",") {
		_, port, err := net.SplitHostPort(address)
		if err == nil && port == "" {
			err = errors.New("it has no port")
		}
		if err != nil {
			return nil, fmt.Errorf("-to %q: %w", address, err)
		}
		all = append(all, &upstream{address: address})
	}
	return all, nil
}

// addTo reads a list of addresses with commas.
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
