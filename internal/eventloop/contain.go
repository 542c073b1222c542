package eventloop

import (
	"errors"
	"runtime/debug"
)

var (
	errUnwound = errors.New("it unwound out of Run") // the value of a panic that is not contained
	errGoexit  = errors.New("runtime.Goexit was called")
)

// call runs one task. If the task does not return, its owner fails. Host.OnPanic contains the panic, or it unwinds.
func (l *Loop) call(t task) {
	l.owner, l.inTask = nil, true
	returned := false
	defer func() {
		if returned {
			return
		}
		contain := l.host.OnPanic()
		var value any
		if contain != nil {
			value = recover() // nil for runtime.Goexit
		}
		l.taskFailed(value, contain)
	}()
	t.source.Ready(t.events)
	returned = true
}

// taskFailed handles a task that has not returned. value is nil if the panic was not contained.
func (l *Loop) taskFailed(value any, contain func(error)) {
	owner := l.owner
	l.owner = nil
	wrapper := PanicWrapper(l.host)
	if owner != nil {
		wrapper = owner
	}
	var err error
	if value != nil {
		err = wrapper.PanicError(value, debug.Stack())
	} else {
		err = wrapper.PanicError(errUnwound, nil)
	}
	if owner != nil {
		owner.Fail(err)
	}
	if value != nil {
		contain(err)
	}
}

// Contain runs fn, then done, even if fn panics or calls runtime.Goexit. In that case, done gets the error from w.
func Contain(w PanicWrapper, fn func() error, done func(error)) {
	var err error
	returned := false
	defer func() {
		if !returned {
			value := recover()
			if value == nil {
				value = errGoexit
			}
			err = w.PanicError(value, debug.Stack())
		}
		done(err)
	}()
	err = fn()
	returned = true
}

// Offload runs fn on a goroutine, like Go, and contains its panics. Then it runs done on the loop.
func (l *Loop) Offload(w PanicWrapper, fn func() error, done func(error)) {
	l.Go(func() {
		Contain(w, fn, func(err error) { l.Event(func() { done(err) }) })
	})
}
