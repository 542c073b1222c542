// Tls is an echo server and client over TLS. The server creates its own certificate and writes it to a file. The client
// trusts only that file:
//
//	tls -listen 127.0.0.1:8443 -cert cert.pem
//	tls -connect 127.0.0.1:8443 -cert cert.pem -say hello
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Usage: tls -listen address [-cert file]
       tls -connect address [-cert file] [-say text]

An echo server over TLS that creates its own certificate, and a client that trusts only this certificate. An
interrupt (Ctrl-C) ends both.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("tls: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "run the server at this `address`; port 0 takes a free one")
	connect := flag.String("connect", "", "run a client of the server at this `address`")
	file := flag.String("cert", "cert.pem", "certificate `file`: the server writes it, the client reads it")
	text := flag.String("say", "hello", "`text` that the client sends")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case flag.NArg() > 0:
		usageError("unexpected argument %q", flag.Arg(0))
	case *listen != "" && *connect == "":
		serve(ctx, *listen, *file)
	case *connect != "" && *listen == "":
		call(ctx, *connect, *file, *text)
	default:
		usageError("exactly one of -listen and -connect is required")
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}

func serve(ctx context.Context, address, file string) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		log.Fatalln(err)
	}
	certificate, err := selfSigned(host, file)
	if err != nil {
		log.Fatalln(err)
	}
	server := evnet.NewServer(&evnet.ServerOptions{
		TLSConfig:        &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"echo"}},
		HandshakeTimeout: 10 * time.Second,
		IdleTimeout:      time.Minute,
	})
	server.On.Connection(func(c *evnet.Socket) { // after the handshake
		state, _ := c.TLS()
		printable.Println("connected:", tls.VersionName(state.Version))
		c.On.Error(func(err error) { log.Println(err) })
		c.On.Close(func(bool) { fmt.Println("disconnected") })
		c.Pipe(c)
	})
	server.On.TLSClientError(func(err error, _ *evnet.Socket) { log.Println(err) })
	if err := server.Listen("tcp", address, func() { printable.Println("listening on", server.Address()) }); err != nil {
		log.Fatalln(err)
	}
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	fmt.Println("closed")
}

// selfSigned creates a certificate for one host, valid for a day. It writes it, without the key, to a file.
func selfSigned(host, file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour), // the client's clock may be slow
		NotAfter:     time.Now().Add(24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text, 0o644)
}

func call(ctx context.Context, address, file, text string) {
	pem, err := os.ReadFile(file)
	if err != nil {
		log.Fatalln(err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(pem) {
		log.Fatalf("read %s: no certificate found", file)
	}
	client := evnet.NewSocket(&evnet.SocketOptions{
		TLSConfig:        &tls.Config{RootCAs: trusted, NextProtos: []string{"echo"}}, // ServerName defaults to the host of the address
		HandshakeTimeout: 10 * time.Second,
	})
	client.On.SecureConnect(func() {
		state, _ := client.TLS()
		printable.Println("connected: protocol", state.NegotiatedProtocol)
	})
	_ = client.Scan(nil, 1<<20, func(line []byte) { printable.Println(string(line)) }) // printable: a server may send any bytes
	client.On.Error(func(err error) { log.Println(err, evnet.Code(err)) })
	client.Connect("tcp", address)
	_, _ = client.WriteString(text + "\n") // sent after the handshake
	client.End()                           // takes effect after that write
	context.AfterFunc(ctx, func() { client.Destroy(nil) })
	evnet.Run()
	if client.Err() != nil {
		os.Exit(1)
	}
}
