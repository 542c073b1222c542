package trust

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goodKinds are the well-behaved clients beside the firehoses: some stay connected, others reconnect for each line.
var goodKinds = map[string]bystander{
	"known":   {place: "Scan"},
	"new":     {place: "Scan", fresh: true},
	"TLS":     {place: "TLS"},
	"Unix":    {place: "Unix"},
	"loop 2":  {place: "another loop"},
	"net":     {place: "net"},
	"new net": {place: "net", fresh: true},
}

// firehoses are peers that send line feeds to one kind of consumer.
type firehoses struct {
	consumer string
	peers    int
	once     int // bytes that each peer sends; 0: endlessly
	lasting  time.Duration
}

const burst = 256 << 10

// However many peers send line feeds (65,536 in one chunk), and whatever consumes them, other clients are served.
func TestFirehosesLeaveTurns(t *testing.T) {
	settings := [][]string{{"EVNET_TRANSPORT="}}
	attacked := []string{"Scan", "Scan, WriteThen", "OnRead, Unshift", "Data as utf16le", "TLS", "dgram"}
	counts := []int{60}
	lasting := 100 * time.Millisecond // within this time each good client starts an exchange, and then waits as long as it takes
	if race.Enabled {
		counts = []int{40} // because each callback takes ten times as long
	}
	if evtest.Long() {
		settings = nil
		for _, transport := range transports {
			for _, processors := range []string{"GOMAXPROCS=1", "GOMAXPROCS=2"} {
				settings = append(settings, []string{transport, processors})
			}
		}
		attacked = append(slices.Sorted(maps.Keys(lineServers)), "TLS", "dgram")
		counts = []int{1, 20, 200}
		lasting = time.Second
	}
	for _, setting := range settings {
		for _, consumer := range attacked {
			for _, peers := range counts {
				for _, once := range []int{0, burst} {
					if once > 0 && (peers < counts[len(counts)-1] || consumer == "dgram" || !evtest.Long() && consumer != "Scan") {
						continue
					}
					a := firehoses{consumer, peers, once, lasting}
					if consumer == "TLS" && !evtest.Long() {
						a.peers = 40 // their handshakes take most of the time
					}
					t.Run(fmt.Sprint(setting, a), func(t *testing.T) { a.run(t, setting) })
				}
			}
		}
	}
}

func (a firehoses) run(t *testing.T, setting []string) {
	c := newCrowd(t, setting...)
	known := map[string]net.Conn{}
	for kind, b := range goodKinds {
		if !b.fresh {
			conn, err := c.dial(b.place)
			require.NoError(t, err)
			defer conn.Close()
			_, err = exchange(conn, "hello")
			require.NoError(t, err)
			known[kind] = conn
		}
	}
	stop := pourFeeds(c.attackers(a.consumer, a.peers), a.once)
	end := time.Now().Add(a.lasting)
	var all sync.WaitGroup
	var mu sync.Mutex
	var waits []string
	for kind, b := range goodKinds {
		all.Go(func() {
			longest := time.Duration(0)
			for time.Now().Before(end) {
				conn, began := known[kind], time.Now()
				if b.fresh {
					var err error
					if conn, err = c.dial(b.place); !assert.NoError(t, err) {
						return
					}
				}
				_, err := exchange(conn, "hello")
				longest = max(longest, time.Since(began))
				if b.fresh {
					_ = conn.Close()
				}
				if !assert.NoError(t, err, kind) {
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, fmt.Sprint(kind, " ", longest.Round(time.Millisecond)))
		})
	}
	all.Wait()
	stop()
	slices.Sort(waits)
	t.Log("the longest waits:", strings.Join(waits, ", "))
}
