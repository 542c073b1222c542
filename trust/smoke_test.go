package trust

import (
	"testing"

	"evnet"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		a, b := pair(t)
		x, y := wrap(l, a), wrap(l, b)
		x.Pipe(x)
		_, _ = y.WriteString("hi")
		y.End()
		y.On.Data(func([]byte) {})
		run(t, l)
		require.True(t, x.Closed())
	})
}
