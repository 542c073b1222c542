package evnet_test

import (
	"fmt"
	"testing"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	evtest.Concurrently(32) // parallel tests are idle most of the time
	goleak.VerifyTestMain(checked{m})
}

// checked runs the tests, and then checks that no socket has changed the state shared by all sockets.
type checked struct{ m *testing.M }

func (c checked) Run() int {
	code := c.m.Run()
	if !evnet.SharedUnchanged() {
		fmt.Println("FAIL: a socket has changed what it shares with others: own or makeRare is missing")
		return 1
	}
	return code
}

func TestIsIP(t *testing.T) {
	texts := map[string]int{
		"127.0.0.1": 4, "0.0.0.0": 4, "255.255.255.255": 4, "127.1": 0, "1.2.3": 0, "1.2.3.4.5": 0,
		"256.1.1.1": 0, "0127.0.0.1": 0, "00.0.0.0": 0, "0x7f.0.0.1": 0, " 1.2.3.4": 0, "1.2.3.4 ": 0,
		"1.2.3.4\n": 0, "1.2.3.4%eth0": 0, "::": 6, "::1": 6, "1::": 6, "::ABCD": 6,
		"::ffff:1.2.3.4": 6, "::1.2.3.4": 6, "1:2:3:4:5:6:1.2.3.4": 6, "::ffff:256.1.1.1": 0,
		"1:2:3:4:5:6:7:8": 6, "1:2:3:4:5:6:7::": 6, "::2:3:4:5:6:7:8": 6, "1:2:3:4:5:6:7": 0,
		"1:2:3:4:5:6:7:8:9": 0, "1::2::3": 0, ":::": 0, "fe80::1%eth0": 6, "fe80::1%1-a.b:c": 6,
		"::%x": 6, "fe80::1%": 0, "fe80::1%a@b": 0, "::00001": 0, "12345::": 0, "::g": 0, "[::1]": 0,
		"": 0,
	}
	for text, want := range texts {
		assert.Equal(t, want, evnet.IsIP(text), "%q", text)
		assert.Equal(t, want == 4, evnet.IsIPv4(text), "%q", text)
		assert.Equal(t, want == 6, evnet.IsIPv6(text), "%q", text)
	}
}
