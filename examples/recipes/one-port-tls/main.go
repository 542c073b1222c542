// One-port-tls serves TLS and plain text on one port. The first byte of a connection shows which one the client
// speaks: a TLS client begins with a handshake record, whose type is 22, and no text begins with that byte.
//
//	go run ./examples/recipes/one-port-tls
//	echo hello | nc -N 127.0.0.1 9101
//	openssl s_client -quiet -connect 127.0.0.1:9101
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/big"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// tlsHandshake is the type of the record that begins every TLS connection.
const tlsHandshake = 22

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9101", "`address` to listen on; port 0 takes a free one")
	cert := flag.String("cert", "", "PEM `file` with the certificate; by default the program creates one that is valid for a day")
	key := flag.String("key", "", "PEM `file` with the key of -cert")
	wait := flag.Duration("wait", 10*time.Second, "how long to wait for the first byte, and then for the TLS handshake")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	case *wait <= 0:
		log.Println("-wait is not positive:", *wait)
		os.Exit(2)
	}
	certificate, err := loadOrMake(*cert, *key)
	if err != nil {
		log.Fatalln(err)
	}

	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   1000,
		FirstByteTimeout: *wait, // for a client that sends nothing
		HandshakeTimeout: *wait, // for a client that does not finish the TLS handshake
		IdleTimeout:      time.Minute,
		WriteTimeout:     30 * time.Second,
		CloseTimeout:     10 * time.Second,
	})
	server.On.Connection(func(c *evnet.Socket) {
		c.On.Error(func(err error) { log.Println(c.RemoteAddr(), err) })
		detect(c, config)
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

// detect looks at the first byte and puts everything back, so that the next consumer, or TLS, gets every byte.
func detect(c *evnet.Socket, config *tls.Config) {
	_ = c.OnRead(func(p []byte) bool {
		encrypted := p[0] == tlsHandshake
		_ = c.OnRead(nil) // the next consumer takes over
		_ = c.Unshift(p)
		if !encrypted {
			answer(c, "plain text")
			return true
		}
		c.On.SecureConnect(func() {
			state, _ := c.TLS()
			answer(c, tls.VersionName(state.Version))
		})
		if err := c.StartTLSServer(config); err != nil {
			c.Destroy(err)
		}
		return true
	})
}

// answer repeats each line, with the protocol that brought it.
func answer(c *evnet.Socket, protocol string) {
	err := c.Scan(nil, 4096, func(line []byte) {
		if _, err := fmt.Fprintf(c, "%s: %s\n", protocol, line); err != nil {
			c.Destroy(err) // the client does not read its answers
		}
	})
	if err != nil {
		c.Destroy(err)
	}
}

// loadOrMake reads a certificate and its key. Without files it makes a self-signed certificate.
func loadOrMake(cert, key string) (tls.Certificate, error) {
	if cert != "" || key != "" {
		return tls.LoadX509KeyPair(cert, key)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}
