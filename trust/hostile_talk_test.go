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

// talk is a good client, who is connected with its first word said, and goes on until the attack was felt too.
// With again it uses a new connection for each exchange. In the short form it does not fill the wait for an attack that takes
// its time with exchanges without a pause.
func talk(t *testing.T, dial func() (net.Conn, error), again bool, connected func(), slowest *atomic.Int64, felt func() bool) {
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
	for i := 0; i < goodExchanges() || !felt() && time.Since(began) < patience/2; i++ {
		if i >= goodExchanges() && !evtest.Long() {
			<-pace.C
		}
		asked := time.Now()
		if again && i > 0 && !connect() {
			return
		}
		_ = c.SetDeadline(asked.Add(fair))
		_, err := c.Write([]byte("hello\n"))
		connected() // with something said, as FirstByteTimeout wants it
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

// untilClosed waits until the server has enough, or the test has.
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

// pour writes until it is cut off, or a gigabyte is through, or the test has enough.
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
