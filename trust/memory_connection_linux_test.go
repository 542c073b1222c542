package trust

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() { roles["connections"] = serveConnections }

const openedConns = 300

// kept is the memory that a connection of one kind uses in a server.
type kept struct {
	transport string // key of transports; "" for the default
	tls       bool
	serve     func(s *evnet.Socket)
	client    func(c net.Conn) error // what the client does; nil: nothing
	most      int                    // limit of the memory in the server's process, in bytes per connection
}

const bulkBytes = 1 << 20

// echoBulk sends a megabyte and reads it back.
func echoBulk(c net.Conn) error {
	go func() { _, _ = c.Write(make([]byte, bulkBytes)) }()
	_, err := io.CopyN(io.Discard, c, bulkBytes)
	return err
}

func shake(c net.Conn) error { return tls.Client(c, clientConfig(1)).Handshake() }

func halfLine(c net.Conn) error {
	_, err := c.Write(bytes.Repeat([]byte("x"), 60<<10))
	return err
}

func echoing(s *evnet.Socket) { s.Pipe(s) }

var keptBy = map[string]kept{
	"silent, no consumer":                      {serve: func(*evnet.Socket) {}, most: 4 << 10},
	"silent, OnRead":                           {serve: lineServers["OnRead"], most: 4 << 10},
	"silent, Data":                             {serve: lineServers["Data"], most: 4 << 10},
	"silent, Scan":                             {serve: lineServers["Scan"], most: 4 << 10},
	"silent, Scan with an encoding":            {serve: lineServers["Scan with an encoding"], most: 4 << 10},
	"silent, Pipe":                             {serve: echoing, most: 4 << 10},
	"silent, BlockingConn in a Read":           {serve: readBlocking, most: 12 << 10},
	"after 1 MB each way, Pipe":                {serve: echoing, client: echoBulk, most: 16 << 10},
	"60 KB of an unfinished line, Scan":        {serve: lineServers["Scan"], client: halfLine, most: 160 << 10},
	"silent, goroutine transport":              {transport: "goroutine", serve: echoing, most: 24 << 10},
	"after 1 MB each way, goroutine transport": {transport: "goroutine", serve: echoing, client: echoBulk, most: 110 << 10},
	"TLS, no hello":                            {tls: true, serve: echoing, most: 40 << 10},
	"TLS, half a hello":                        {tls: true, serve: echoing, client: halfHello, most: 150 << 10},
	"TLS, silent after the handshake":          {tls: true, serve: echoing, client: shake, most: 60 << 10},
	"TLS, silent, with a chain of 10 KB":       {tls: true, serve: echoing, client: shakeWithChain, most: 160 << 10},
	"TLS, after 1 MB each way":                 {tls: true, serve: echoing, client: echoBulkTLS, most: 220 << 10},
}

func readBlocking(s *evnet.Socket) {
	c, err := s.BlockingConn()
	check(err)
	go func() { _, _ = c.Read(make([]byte, 1)) }()
}

// halfHello sends the beginning of a ClientHello of the maximum length.
func halfHello(c net.Conn) error {
	record := append([]byte{22, 3, 1, 64, 0, 1, 0, 254, 0}, make([]byte, 16<<10-4)...)
	_, err := c.Write(append(record, record[:5]...))
	return err
}

// clientConfig has a chain with the given number of certificates.
func clientConfig(length int) *tls.Config {
	certificate := selfSigned().Certificates[0]
	for len(certificate.Certificate) < length {
		certificate.Certificate = append(certificate.Certificate[:len(certificate.Certificate):len(certificate.Certificate)], certificate.Certificate[0])
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}}
}

func shakeWithChain(c net.Conn) error {
	length := 10 << 10 / len(selfSigned().Certificates[0].Certificate[0])
	return tls.Client(c, clientConfig(length)).Handshake()
}

func echoBulkTLS(c net.Conn) error { return echoBulk(tls.Client(c, clientConfig(1))) }

// usualKinds are the kinds that the short form measures.
var usualKinds = []string{
	"silent, OnRead", "after 1 MB each way, Pipe", "60 KB of an unfinished line, Scan", "TLS, silent after the handshake",
}

// The memory of a connection of each kind is limited. -v prints it.
func TestMemoryOfConnections(t *testing.T) {
	t.Parallel()
	names := usualKinds
	if evtest.Long() {
		names = slices.Sorted(maps.Keys(keptBy))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keptBy[name]
			child := childCommand("connections", "EVNET_TRANSPORT="+k.transport)
			child.Args = append(child.Args, name)
			stdin, err := child.StdinPipe()
			require.NoError(t, err)
			stdout, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			defer func() {
				_ = stdin.Close()
				_ = child.Wait()
			}()
			out := bufio.NewReader(stdout)
			readLine := func() (line string) {
				line, err := out.ReadString('\n')
				require.NoError(t, err)
				return strings.TrimSpace(line)
			}
			address := readLine()
			memory := func() (bytes int) {
				_, err := io.WriteString(stdin, "\n")
				require.NoError(t, err)
				_, err = fmt.Sscan(readLine(), &bytes)
				require.NoError(t, err)
				return bytes
			}
			connect := func() {
				c, err := net.Dial("tcp", address)
				require.NoError(t, err)
				t.Cleanup(func() { _ = c.Close() })
				_ = c.SetDeadline(time.Now().Add(patience))
				if k.client != nil {
					require.NoError(t, k.client(c))
				}
			}
			connect() // do not count what only the first connection needs
			before := memory()
			for range openedConns {
				connect()
			}
			each := (memory() - before) / openedConns
			t.Logf("%.1f KB", float64(each)/1024)
			if !race.Enabled {
				assert.Less(t, each, k.most)
			}
		})
	}
}

// serveConnections prints its memory for each line that it reads, after it has returned free memory to the operating
// system.
func serveConnections() {
	k := keptBy[os.Args[1]]
	opts := &evnet.ServerOptions{Logger: quiet}
	if k.tls {
		opts.TLSConfig = selfSigned().Clone()
		opts.TLSConfig.ClientAuth = tls.RequestClientCert
	}
	server := evnet.NewServer(opts)
	server.On.Connection(k.serve)
	check(server.Listen("tcp", "127.0.0.1:0", func() { fmt.Println(server.Address()) }))
	go func() {
		in := bufio.NewReader(os.Stdin)
		for {
			if _, err := in.ReadString('\n'); err != nil {
				os.Exit(0)
			}
			time.Sleep(200 * time.Millisecond) // for data in flight
			for range 3 {                      // the second collection empties the pools
				debug.FreeOSMemory()
			}
			status, err := os.ReadFile("/proc/self/status")
			check(err)
			_, rest, _ := strings.Cut(string(status), "VmRSS:")
			var kilobytes int
			_, err = fmt.Sscan(rest, &kilobytes)
			check(err)
			fmt.Println(kilobytes << 10)
		}
	}()
	evnet.Run()
}
