package eventloop

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeOwner records its failure.
type fakeOwner struct{ failed *[]error }

func (o fakeOwner) PanicError(value any, stack []byte) error { return &fakePanic{value, stack, o} }
func (o fakeOwner) Fail(err error)                           { *o.failed = append(*o.failed, err) }

func TestPanic_FailsTheOwnerAndGoesToOnPanic(t *testing.T) {
	l := newLoop()
	var failed, reported []error
	o := fakeOwner{&failed}
	l.Host().(*fakeHost).onPanic = func(err error) { reported = append(reported, err) }
	l.Post(func() { l.SetOwner(o); panic("owned") })
	l.Post(func() { panic("without an owner") }) // an owner applies to one task only
	l.Post(func() { l.SetOwner(o); l.SetOwner(nil); panic("after") })
	l.Run()
	require.Len(t, failed, 1)
	require.Len(t, reported, 3)
	assert.Same(t, failed[0], reported[0])
	p := reported[0].(*fakePanic)
	assert.Equal(t, "owned", p.value)
	assert.Contains(t, string(p.stack), "TestPanic_FailsTheOwner")
	assert.Equal(t, o, p.owner)
	assert.Nil(t, reported[1].(*fakePanic).owner)
	assert.Nil(t, reported[2].(*fakePanic).owner)
}

func TestPanic_FailsTheOwnerAlsoWhereItUnwinds(t *testing.T) {
	for name, blow := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			l := newLoop()
			var failed []error
			l.Post(func() { l.SetOwner(fakeOwner{&failed}); blow() })
			recovered := make(chan any, 1)
			go func() {
				defer func() { recovered <- recover() }()
				l.Run()
				t.Error("Run has returned")
			}()
			if v := <-recovered; name == "panic" {
				assert.Equal(t, "boom", v)
			}
			require.Len(t, failed, 1)
			assert.Equal(t, errUnwound, failed[0].(*fakePanic).value)
			assert.Empty(t, failed[0].(*fakePanic).stack)
			assert.True(t, l.Run())
		})
	}
}

func TestPanic_OfGoexitIsNotContained(t *testing.T) {
	l := newLoop()
	var failed []error
	l.Host().(*fakeHost).onPanic = func(error) { t.Error("runtime.Goexit is not a panic") }
	l.Post(func() { l.SetOwner(fakeOwner{&failed}); runtime.Goexit() })
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run() }()
	<-ended
	assert.Len(t, failed, 1)
	assert.True(t, l.Run())
}

func TestContain(t *testing.T) {
	own := errors.New("own")
	for name, c := range map[string]struct {
		fn   func() error
		want any
	}{
		"returns": {func() error { return nil }, nil},
		"fails":   {func() error { return own }, own},
		"panics":  {func() error { panic("boom") }, "boom"},
		"Goexit":  {func() error { runtime.Goexit(); return nil }, errGoexit},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			go Contain(&fakeHost{}, c.fn, func(err error) { got <- err })
			err := <-got
			if p, ok := err.(*fakePanic); ok {
				assert.Equal(t, c.want, p.value)
				return
			}
			if c.want == nil {
				assert.NoError(t, err)
				return
			}
			assert.Equal(t, c.want, err)
		})
	}
}

func TestOffload_ReportsOnTheLoop(t *testing.T) {
	l := newLoop()
	var got error
	l.Offload(&fakeHost{}, func() error {
		assert.False(t, l.OnLoop())
		panic("boom")
	}, func(err error) {
		assert.True(t, l.OnLoop())
		got = err
	})
	l.Run()
	assert.Equal(t, "boom", got.(*fakePanic).value)
}

func TestFlush_FollowsTheTask(t *testing.T) {
	l, got := newLoop(), journal{}
	second := noted{got: &got, name: "second"}
	first := noted{got: &got, name: "first", then: func() { l.FlushLater(second) }}
	l.Event(func() {
		l.FlushLater(first)
		l.Post(got.note("posted"))
		got.note("task")()
	})
	l.Run()
	assert.Equal(t, "task first second posted", got.String())
	l.Do(func() { l.FlushLater(second) })
	assert.Equal(t, "task first second posted second", got.String())
}

type noted struct {
	got  *journal
	name string
	then func()
}

func (n noted) Flush() {
	n.got.note(n.name)()
	if n.then != nil {
		n.then()
	}
}
