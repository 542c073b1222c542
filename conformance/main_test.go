package conformance_test

import (
	"testing"

	"evnet/internal/evtest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	evtest.AtOnce(48) // only the scenarios are parallel, and they are idle most of the time
	goleak.VerifyTestMain(m)
}
