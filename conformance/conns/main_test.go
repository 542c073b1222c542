package conns_test

import (
	"testing"

	"evnet/internal/evtest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	evtest.Concurrently(32) // parallel tests are idle most of the time
	goleak.VerifyTestMain(m)
}
