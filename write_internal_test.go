package evnet

import (
	"errors"
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
			var o outbound
			appendTo(&o, "queued before")
			wait(&o)
			appendTo(&o, "and after")
			assert.Equal(t, len("queued before"), o.sendable())
			assert.Equal(t, "queued before", string(o.take(100)[0]))
			o.drop(errors.New("gone"))
			assert.Zero(t, o.sendable())
			assert.Empty(t, o.take(100))
		})
	}
}
