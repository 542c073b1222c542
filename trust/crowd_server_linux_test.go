package trust

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"evnet"
	"evnet/dgram"
)

// A program that serves in every way at the same time. It shows how one kind of peer affects the others.

func init() { roles["server of every kind"] = serveTheCrowd }

// crowdPlaces maps the name of each service to its address.
type crowdPlaces map[string]string

// lineServers are the ways in which a line server may read. Each has its own listener, on the same loop. Each answers
// a line, or echoes what it receives.
var lineServers = map[string]func(s *evnet.Socket){
	"Scan": func(s *evnet.Socket) {
		_ = s.Scan(nil, 0, func(line []byte) { answerLine(s, line) })
	},
	"Scan with an encoding": func(s *evnet.Socket) {
		_ = s.SetEncoding("latin1")
		_ = s.Scan(nil, 0, func(line []byte) { answerLine(s, line) })
	},
	"Scan, WriteThen": func(s *evnet.Socket) {
		_ = s.Scan(nil, 0, func(line []byte) {
			s.WriteThen(append(line, '\n'), func(err error) {
				if err != nil {
					s.Destroy(err)
				}
			})
		})
	},
	"OnRead": func(s *evnet.Socket) {
		_ = s.OnRead(func(p []byte) bool { answer(s, p); return true })
	},
	"OnRead, Unshift": func(s *evnet.Socket) {
		_ = s.OnRead(func(p []byte) bool {
			advance, line, _ := bufio.ScanLines(p, false)
			if advance == 0 {
				return true
			}
			rest := p[advance:]
			answerLine(s, line)
			_ = s.Unshift(rest)
			return true
		})
	},
	"Data": func(s *evnet.Socket) {
		s.On.Data(func(p []byte) { answer(s, p) })
	},
	"Data as utf8": func(s *evnet.Socket) {
		_ = s.SetEncoding("utf8")
		s.On.Data(func(p []byte) { answer(s, p) })
	},
	"Data as utf16le": func(s *evnet.Socket) {
		_ = s.SetEncoding("utf16le")
		s.On.Data(func(p []byte) { answer(s, p) })
	},
	"Pipe": func(s *evnet.Socket) { s.Pipe(s) },
}

var lineFeed = []byte("\n")

// answerLine allocates nothing, because a garbage collection would wake the scheduler.
func answerLine(s *evnet.Socket, line []byte) {
	answer(s, line)
	answer(s, lineFeed)
}

// answer destroys the socket of a peer that does not read its answers.
func answer(s *evnet.Socket, p []byte) {
	if _, err := s.Write(p); err != nil {
		s.Destroy(err)
	}
}

// serveTheCrowd prints its crowdPlaces, and then serves until its input ends.
func serveTheCrowd() {
	l := evnet.NewLoop()
	at := crowdPlaces{}
	listen := func(name string, l *evnet.Loop, network, address string, config *tls.Config, fn func(*evnet.Socket)) {
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet, TLSConfig: config})
		server.On.Connection(fn)
		check(server.Listen(network, address, nil))
		at[name] = server.Address().String()
	}
	const free = "127.0.0.1:0"
	for name, consume := range lineServers {
		listen(name, l, "tcp", free, nil, consume)
	}
	listen("TLS", l, "tcp", free, selfSigned(), lineServers["Scan"])
	dir, err := os.MkdirTemp("", "evnet")
	check(err)
	defer os.RemoveAll(dir)
	listen("Unix", l, "unix", dir+"/s", nil, lineServers["Scan"])
	at["dgram"] = serveDatagrams(l)

	other := evnet.NewLoop()
	listen("another loop", other, "tcp", free, nil, lineServers["Scan"])
	go other.Run()

	ln, err := net.Listen("tcp", free)
	check(err)
	at["net"] = ln.Addr().String()
	go echoPlainly(ln)

	listen("waits", l, "tcp", free, nil, func(s *evnet.Socket) {
		_ = s.Scan(nil, 0, func(line []byte) {
			request := bytes.Clone(line)
			begin(l, string(request), func() { answerLine(s, request) })
		})
	})

	line, err := json.Marshal(at)
	check(err)
	fmt.Println(string(line))
	go func() { // exits when the parent closes the input
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = os.RemoveAll(dir)
		os.Exit(0)
	}()
	l.Run()
}

func serveDatagrams(l *evnet.Loop) string {
	d, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Loop: l, Logger: quiet})
	check(err)
	d.On.Message(func(p []byte, from netip.AddrPort) { _ = d.SendTo(p, from, nil) })
	check(d.Bind("127.0.0.1:0", nil))
	return d.Address().String()
}

func echoPlainly(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}()
	}
}

// begin runs done on the loop after the named event.
func begin(l *evnet.Loop, what string, done func()) {
	post := func() { l.Post(done) }
	switch what {
	case "goroutine":
		go post()
	case "timer":
		time.AfterFunc(time.Millisecond, post)
	case "timer of the loop":
		l.AfterFunc(time.Millisecond, done)
	default:
		done()
	}
}
