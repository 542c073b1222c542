// Proxy-header is a service behind a proxy that speaks the PROXY protocol, version 1 or 2, as HAProxy, nginx and many
// load balancers do. It shows the address of the client that the proxy serves, and accepts trusted proxies only.
//
//	go run ./examples/recipes/proxy-header -trust 127.0.0.1/32
//	curl --haproxy-protocol http://127.0.0.1:9102
//	printf 'PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n\r\n' | nc -N 127.0.0.1 9102
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

var errUntrusted = errors.New("not a trusted proxy")

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9102", "`address` to listen on; port 0 takes a free one")
	wait := flag.Duration("wait", 5*time.Second, "how long to wait for the header")
	var proxies []netip.Prefix
	flag.Func("trust", "`network` of trusted proxies, such as 10.0.0.0/8; may be repeated", func(text string) error {
		network, err := netip.ParsePrefix(text)
		proxies = append(proxies, network)
		return err
	})
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	case *wait <= 0:
		log.Println("-wait is not positive:", *wait)
		os.Exit(2)
	case len(proxies) == 0:
		log.Println("no -trust: which proxies may connect?")
		os.Exit(2)
	}

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: 1000,
		IdleTimeout:    time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   10 * time.Second,
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		if !isIn(proxies, c.RemoteAddr()) {
			c.Destroy(errUntrusted) // nothing has been read
			return
		}
		readHeader(c, *wait)
	})
	if err := server.Listen("tcp", *address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

// readHeader reads the header and then serves the client. It destroys a connection whose header takes too long.
func readHeader(c *evnet.Socket, wait time.Duration) {
	late := c.Loop().AfterFunc(wait, func() { c.Destroy(os.ErrDeadlineExceeded) })
	c.On.Close(func(bool) { late.Stop() })
	err := c.Scan(splitHeader, maxHeader, func(header []byte) {
		late.Stop()
		client, err := clientOf(header)
		switch {
		case err != nil:
			c.Destroy(err)
		case client.IsValid():
			serve(c, client.String())
		default: // a health check, or a client that the proxy does not know
			serve(c, c.RemoteAddr().String())
		}
	})
	if err != nil {
		c.Destroy(err)
	}
}

// serve answers an HTTP request with the client's address. Its Scan continues with the bytes after the header.
func serve(c *evnet.Socket, client string) {
	err := c.Scan(nil, 4096, func(line []byte) {
		if len(line) == 0 { // the end of the request
			body := "your address is " + client + "\n"
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
			c.End()
		}
	})
	if err != nil {
		c.Destroy(err)
	}
}

// isIn reports whether an address belongs to one of the networks.
func isIn(networks []netip.Prefix, address net.Addr) bool {
	ip := address.(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}
