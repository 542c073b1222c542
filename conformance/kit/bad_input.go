package kit

import (
	"context"
	"net"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// BadInput is an invalid call and the properties that its error must have.
type BadInput struct {
	Err  error
	Is   []error  // errors.Is
	As   []any    // errors.As
	Code string   // Code
	Says []string // parts of the error text
}

func (b BadInput) Check(t *testing.T) {
	t.Helper()
	require.Error(t, b.Err)
	for _, target := range b.Is {
		assert.ErrorIs(t, b.Err, target)
	}
	for _, target := range b.As {
		assert.ErrorAs(t, b.Err, target)
	}
	assert.Equal(t, b.Code, evnet.Code(b.Err), "%v", b.Err)
	for _, text := range b.Says {
		assert.Contains(t, b.Err.Error(), text)
	}
	assert.NotContains(t, b.Err.Error(), "%!")
}

func OpError() any { return new(*net.OpError) }

func AddrError() any { return new(*net.AddrError) }

func Canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
