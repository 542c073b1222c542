package evnet

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A queue that was dropped has nothing to send, though a cork or the end of a callback was awaited.
func TestDroppedQueueHasNothingToSend(t *testing.T) {
	for name, wait := range map[string]func(*outbound){
		"cork":     func(o *outbound) { o.corks, o.corkedAt = 1, o.accepted },
		"callback": func(o *outbound) { o.deferred, o.deferAt = true, o.accepted },
	} {
		t.Run(name, func(t *testing.T) {
			o := outbound{outbox: &outbox{}}
			add := func(text string) {
				o.accepted += int64(len(text))
				o.queued += len(text)
				o.add([]byte(text))
			}
			add("queued before")
			wait(&o)
			add("and after")
			assert.Equal(t, len("queued before"), o.sendable())
			batch, _ := o.take(100)
			assert.Equal(t, "queued before", string(batch[0]))
			o.drop()
			assert.Zero(t, o.sendable())
			batch, _ = o.take(100)
			assert.Empty(t, batch)
		})
	}
}
