package conformance_test

import (
	"testing"

	"evnet/internal/evtest"
	"evnet/internal/race"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	atOnce := 48 // only the scenarios are parallel, and they are idle most of the time
	if race.Enabled {
		atOnce = 12 // the detector makes each of them several times as expensive, and their waits are real time
	}
	evtest.Concurrently(atOnce)
	goleak.VerifyTestMain(m)
}
