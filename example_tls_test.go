package evnet_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"evnet"
	"evnet/internal/evtest"
)

// A TLS server and client: only the options differ from TCP.
func ExampleServerOptions_tls() {
	server := evnet.NewServer(&evnet.ServerOptions{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{evtest.Certificate()}}, // for example from tls.LoadX509KeyPair
	})
	server.On.Connection(func(c *evnet.Socket) { // after the handshake
		c.WriteString("encrypted on the way")
		c.End()
		c.Resume()
		_ = server.Close(nil) // one client is enough here
	})
	server.On.TLSClientError(func(err error, _ *evnet.Socket) { fmt.Println(err) })
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.NewSocket(&evnet.SocketOptions{
		TLSConfig: &tls.Config{RootCAs: evtest.Roots()}, // nil means the root certificates of the operating system
	})
	client.On.SecureConnect(func() {
		state, _ := client.TLS()
		fmt.Println(tls.VersionName(state.Version), "with", state.PeerCertificates[0].DNSNames[0])
	})
	client.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	client.On.Error(func(err error) { fmt.Println(err) })
	client.Connect("tcp", "localhost:"+evtest.Port(server.Address().String()))
	evnet.Run()
	// Output:
	// TLS 1.3 with localhost
	// encrypted on the way
}

// If a client does not trust the server's certificate, the handshake fails on both sides.
func ExampleServerEvents_TLSClientError() {
	server := evnet.NewServer(&evnet.ServerOptions{TLSConfig: &tls.Config{Certificates: []tls.Certificate{evtest.Certificate()}}})
	server.On.TLSClientError(func(err error, c *evnet.Socket) {
		fmt.Println("server: no connection with", c.RemoteAddr().Network())
		_ = server.Close(nil)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	client := evnet.NewSocket(&evnet.SocketOptions{TLSConfig: &tls.Config{RootCAs: x509.NewCertPool()}}) // trusts no authority
	failure := ""
	client.On.Error(func(err error) { failure = evnet.Code(err) })
	client.Connect("tcp", server.Address().String())
	evnet.Run()
	fmt.Println("client:", failure)
	// Output:
	// server: no connection with tcp
	// client: UNABLE_TO_VERIFY_LEAF_SIGNATURE
}

func ExampleSocket_StartTLSServer() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		_, _ = c.WriteString("220 ready\r\n")
		_ = c.Scan(bufio.ScanLines, 1000, func(line []byte) {
			if string(line) != "STARTTLS" {
				return
			}
			_, _ = c.WriteString("220 go ahead\r\n") // the last plain text
			if err := c.StartTLSServer(&tls.Config{Certificates: []tls.Certificate{evtest.Certificate()}}); err != nil {
				c.Destroy(err)
			}
		})
		c.On.SecureConnect(func() { _, _ = c.WriteString("250 encrypted on the way\r\n"); c.End() })
	})
	_ = server.Listen("tcp", "127.0.0.1:0", nil)
	client := evnet.Connect("tcp", server.Address().String(), nil)
	_ = client.Scan(bufio.ScanLines, 1000, func(line []byte) {
		switch os.Stdout.WriteString(string(line) + "\n"); string(line) {
		case "220 ready":
			_, _ = client.WriteString("STARTTLS\r\n")
		case "220 go ahead":
			_ = client.StartTLS(&tls.Config{RootCAs: evtest.Roots()})
		}
	})
	client.On.Close(func(bool) { _ = server.Close(nil) })
	evnet.Run()
	// Output:
	// 220 ready
	// 220 go ahead
	// 250 encrypted on the way
}
