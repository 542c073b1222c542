package conformance_test

import (
	"testing"

	"evnet/internal/evtest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	evtest.AtOnce(48) // only scenarios are parallel, which wait most of the time
	goleak.VerifyTestMain(m)
}
