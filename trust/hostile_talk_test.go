package trust

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// talk runs a well-behaved client. It calls connected after its first line, and continues until the attack was detected
// too. With again it uses a new connection for each exchange. In the short form it pauses between further exchanges
// while it waits for a slow attack.
func talk(t *testing.T, dial func() (net.Conn, error), again bool, connected func(), slowest *atomic.Int64, detected func() bool) {
	connected = sync.OnceFunc(connected)
	defer connected()
	var c net.Conn
	var answers *bufio.Reader
	connect := func() bool {
		if c != nil {
			_ = c.Close()
		}
		var err error
		if c, err = dial(); !assert.NoError(t, err) {
			return false
		}
		answers = bufio.NewReader(c)
		return true
	}
	if !connect() {
		return
	}
	defer func() { _ = c.Close() }()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	began := time.Now()
	for i := 0; i < goodExchanges() || !detected() && time.Since(began) < patience/2; i++ {
		if i >= goodExchanges() && !evtest.Long() {
			<-pace.C
		}
		asked := time.Now()
		if again && i > 0 && !connect() {
			return
		}
		_ = c.SetDeadline(asked.Add(fair))
		_, err := c.Write([]byte("hello\n"))
		connected() // after the first line, because of FirstByteTimeout
		if !assert.NoError(t, err) {
			return
		}
		answer, err := answers.ReadString('\n')
		if !assert.NoError(t, err) || !assert.Equal(t, "hello\n", answer) {
			return
		}
		if took := int64(time.Since(asked)); took > slowest.Load() {
			slowest.Store(took)
		}
	}
}

// untilClosed waits until the server closes the connection or the test ends.
func untilClosed(_ *testing.T, c *net.TCPConn, stop chan struct{}) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-stop:
			_ = c.Close()
		case <-done:
		}
	}()
	_, _ = io.Copy(io.Discard, c)
}

// pour writes until the server closes the connection, a gigabyte is written, or the test ends.
func pour(c *net.TCPConn, p []byte, stop chan struct{}) (sent int) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-stop:
			_ = c.Close()
		case <-done:
		}
	}()
	for sent < 1<<30 {
		n, err := c.Write(p)
		if sent += n; err != nil {
			break
		}
	}
	return sent
}

func blocking(addresses ...string) *evnet.BlockList {
	list := &evnet.BlockList{}
	if err := list.Add(strings.Join(addresses, "")); err != nil {
		panic(err)
	}
	return list
}
