package dgram_test

import (
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However many sockets of a loop fail, they write only a burst of records. The next record has the number of suppressed
// ones. The same applies to conns whose Close panics.
func TestLogger_LimitsRecordsOfALoop(t *testing.T) {
	const sockets, burst = 100, 20
	for name, fail := range map[string]func(*fake){
		"error": func(f *fake) { f.read = func([]byte) (int, net.Addr, error) { panic(errOwn) } },
		"close": func(f *fake) { f.close = func() { panic(errOwn) } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, log := evnet.NewLoop(), newRecords()
				failing := func() {
					f := newFake()
					fail(f)
					s, err := dgram.Wrap(f, &dgram.SocketOptions{Loop: l, Logger: newLogger(log)})
					require.NoError(t, err)
					s.On.Listening(func() {
						if name == "close" {
							closed(s)
						}
					})
				}
				for range sockets {
					failing()
				}
				l.AfterFunc(30*time.Second, failing)
				run(t, l)
				require.Len(t, log.list, burst+1)
				suppressed := int64(0)
				log.list[burst].Attrs(func(a slog.Attr) bool {
					if a.Key == "suppressed" {
						suppressed = a.Value.Int64()
					}
					return true
				})
				assert.EqualValues(t, sockets-burst, suppressed)
			})
		})
	}
}
