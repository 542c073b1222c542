package evnet

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Write states are pooled. One that a busy socket has returned must not make the next socket yield.
func TestWriteState_StartsWithAnUnusedBudget(t *testing.T) {
	for range 100 { // the pool may drop a state
		busy := outbound{writeState: &emptyWriteState}
		busy.own()
		busy.budget = budget{turn: 1, calls: 9, next: 1, began: 1}
		writeStates.Put(busy.writeState)
		next := outbound{writeState: &emptyWriteState}
		next.own()
		assert.Zero(t, next.budget)
	}
}
