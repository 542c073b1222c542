package figures_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"evnet/bench/figures"
)

func TestQuantile_IsCloseToExactValue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h figures.Histogram
	var all []int64
	for range 20000 {
		ns := int64(random.ExpFloat64() * 50_000)
		h.Add(ns)
		all = append(all, ns)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 0.999} {
		exact := all[int(q*float64(len(all)))]
		got := h.Quantile(q)
		assert.GreaterOrEqual(t, got, exact, "quantile %v", q)
		assert.LessOrEqual(t, float64(got), float64(exact)*1.016+1, "quantile %v", q)
	}
	assert.EqualValues(t, len(all), h.Total())
}

func TestHistogram_AcceptsEveryDuration(t *testing.T) {
	var h figures.Histogram
	assert.Zero(t, h.Quantile(0.5), "an empty histogram")
	h.Add(-5)
	assert.Zero(t, h.Quantile(1), "a negative duration")
	for bit := range 63 {
		h.Reset()
		h.Add(1 << bit)
		assert.InEpsilon(t, float64(int64(1)<<bit), float64(h.Quantile(0.5)), 0.016)
		h.Reset()
		h.Add(1<<bit - 1)
		assert.GreaterOrEqual(t, h.Quantile(0.5), int64(1<<bit-1))
	}
	h.Reset()
	assert.Zero(t, testing.AllocsPerRun(100, func() { h.Add(12345) }))
}
