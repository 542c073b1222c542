// Tls is an echo under TLS: a server that makes its own certificate and leaves it in a file, and a client that trusts
// that file and no other. It starts one of them:
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

An echo under TLS: a server with a certificate that it makes itself, and a client that trusts this one alone. An
interrupt (Ctrl-C) ends both.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "the `address` to serve at; port 0 takes a free one")
	connect := flag.String("connect", "", "the `address` of the server to call")
	file := flag.String("cert", "cert.pem", "the server's certificate: the server writes it, the client reads it")
	text := flag.String("say", "hello", "what the client says")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case flag.NArg() > 0:
		misused("tls takes no argument " + flag.Arg(0))
	case *listen != "" && *connect == "":
		serve(ctx, *listen, *file)
	case *connect != "" && *listen == "":
		call(ctx, *connect, *file, *text)
	default:
		misused("give one of -listen and -connect")
	}
}

func misused(problem string) {
	log.Println(problem)
	log.Println("tls -h tells the flags")
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
		printable.Println("connected by", tls.VersionName(state.Version))
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

// selfSigned makes a certificate for one host, for a day, and writes it, without its key, to a file.
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
		log.Fatalln(file, "has no certificate")
	}
	client := evnet.NewSocket(&evnet.SocketOptions{
		TLSConfig:        &tls.Config{RootCAs: trusted, NextProtos: []string{"echo"}}, // its ServerName is the host of the address
		HandshakeTimeout: 10 * time.Second,
	})
	client.On.SecureConnect(func() {
		state, _ := client.TLS()
		printable.Println("connected, speaking", state.NegotiatedProtocol)
	})
	_ = client.Scan(nil, 1<<20, func(line []byte) { printable.Println(string(line)) }) // a server may send anything
	client.On.Error(func(err error) { log.Println(err, evnet.Code(err)) })
	client.Connect("tcp", address)
	_, _ = client.WriteString(text + "\n") // waits for the handshake
	client.End()                           // and so does this
	context.AfterFunc(ctx, func() { client.Destroy(nil) })
	evnet.Run()
	if client.Err() != nil {
		os.Exit(1)
	}
}
