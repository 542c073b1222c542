package trust

import (
	"net"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bystander is what a busy peer of a loop could delay: a client, or a part of the process that a client triggers.
type bystander struct {
	place string
	fresh bool   // it reconnects for the exchange
	asks  string // the line that it sends; default: "hello"
}

var bystanders = map[string]bystander{
	"a client of the loop":          {place: "Scan"},
	"a new client of the loop":      {place: "Scan", fresh: true},
	"a TLS client":                  {place: "TLS"},
	"a new TLS client":              {place: "TLS", fresh: true},
	"a client of a Unix socket":     {place: "Unix"},
	"a client of a datagram socket": {place: "dgram"},
	"a client of another loop":      {place: "another loop"},
	"a new client of another loop":  {place: "another loop", fresh: true},
	"a client of package net":       {place: "net"},
	"a new client of package net":   {place: "net", fresh: true},
	"a goroutine":                   {place: "waits", asks: "goroutine"},
	"a timer of package time":       {place: "waits", asks: "timer"},
	"a timer of the loop":           {place: "waits", asks: "timer of the loop"},
	"a goroutine, and a new client": {place: "waits", asks: "goroutine", fresh: true},
	"a timer, and a new client":     {place: "waits", asks: "timer", fresh: true},
}

// idleTime is long enough that Go's scheduler sleeps in an idle process.
const idleTime = 50 * time.Millisecond

// A peer that suddenly keeps a loop of an idle process busy does not delay others in the process, on one processor or
// on two.
func TestBusyPeerDoesNotStarveOthers(t *testing.T) {
	t.Parallel()
	tries := 1
	if evtest.Long() {
		tries = 100
	}
	for i, processors := range []string{"1", "2"} {
		for j, attacked := range []string{"Scan", "dgram"} {
			if !evtest.Long() && i != j {
				continue // the short form attacks each place once, and uses each number of processors once
			}
			t.Run("GOMAXPROCS="+processors+", "+attacked, func(t *testing.T) {
				t.Parallel()
				c := newCrowd(t, "EVNET_TRANSPORT=", "GOMAXPROCS="+processors)
				for name, b := range bystanders {
					if attacked == "dgram" && b.place == "dgram" {
						continue // the flood fills the socket's buffer, so that other datagrams are lost
					}
					t.Run(name, func(t *testing.T) {
						longest := time.Duration(0)
						for range tries {
							longest = max(longest, c.beside(t, attacked, b))
						}
						t.Logf("%d tries, the longest wait: %v", tries, longest)
					})
				}
			})
		}
	}
}

// beside returns how long a bystander waits beside one busy peer.
func (c *crowd) beside(t *testing.T, attacked string, b bystander) time.Duration {
	attackers := c.attackers(attacked, 1)
	var conn net.Conn
	connect := func() {
		var err error
		conn, err = c.dial(b.place)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	if !b.fresh {
		connect()
		_, err := exchange(conn, "hello")
		require.NoError(t, err)
	}
	time.Sleep(idleTime)
	defer pourFeeds(attackers, 0)()
	time.Sleep(idleTime / 2) // the loop is busy, and everything else is asleep
	began := time.Now()
	if b.fresh {
		connect()
	}
	if b.asks == "" {
		b.asks = "hello"
	}
	_, err := exchange(conn, b.asks)
	assert.NoError(t, err)
	return time.Since(began)
}
