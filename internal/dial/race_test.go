package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	first  = "10.0.0.1:80"
	second = "10.0.0.2:80"
	third  = "10.0.0.3:80"
)

// named returns the configuration for a host with three addresses, whose attempts wait for d.
func named(d *dials) Config {
	return Config{Network: "tcp", Address: "name.example:80", Delay: time.Second, Dial: d.dial,
		Resolver: answer("10.0.0.1", "10.0.0.2", "10.0.0.3")}
}

func TestRace_ReportsEachStepInOrder(t *testing.T) {
	d := new(dials)
	conn := newConn()
	d.at(first) <- outcome{err: errRefused}
	d.at(second) <- outcome{conn: conn}
	o := play(t, named(d))
	assert.Equal(t, "name.example", o.race.Host())
	assert.Equal(t, []string{
		"resolved",
		"lookup name.example 10.0.0.1 4", "lookup name.example 10.0.0.2 4", "lookup name.example 10.0.0.3 4",
		"attempt tcp4 10.0.0.1:80 4 true", "failed 10.0.0.1:80: refused",
		"attempt tcp4 10.0.0.2:80 4 true", "connected",
	}, o.steps)
	assert.Same(t, conn, o.conn)
	assert.False(t, conn.isClosed())
	assert.Empty(t, o.errs)
}

func TestRace_ReportsAddressesAsTheResolverReturnsThem(t *testing.T) {
	o := play(t, Config{Network: "tcp", Address: "name.example:80", Family: 4, Resolver: answer("", "::1", "::ffff:10.0.0.1", "10.0.0.1")})
	assert.Equal(t, []string{
		"resolved", "lookup name.example  0", "lookup name.example ::1 6",
		"lookup name.example 10.0.0.1 4", "lookup name.example 10.0.0.1 4",
		"attempt tcp4 10.0.0.1:80 4 false", "failed 10.0.0.1:80: refused", "failed",
	}, o.steps)
}

func TestRace_FirstOnly(t *testing.T) {
	config := named(new(dials))
	config.Dial, config.FirstOnly = nil, true
	o := play(t, config)
	assert.Equal(t, []string{"resolved", "lookup name.example 10.0.0.1 4",
		"attempt tcp4 10.0.0.1:80 4 false", "failed 10.0.0.1:80: refused", "failed"}, o.steps)
}

func TestRace_FailsIfTheLookupFails(t *testing.T) {
	for name, c := range map[string]struct {
		resolver Resolver
		text     string
		check    func(error)
	}{
		"error": {resolver(func(context.Context, string, string) ([]netip.Addr, error) { return nil, errRefused }),
			"refused", func(err error) { assert.ErrorIs(t, err, errRefused) }},
		"no address": {answer(), "lookup name.example: no such host", func(err error) {
			var dns *net.DNSError
			require.ErrorAs(t, err, &dns)
			assert.True(t, dns.IsNotFound)
		}},
		"panic": {resolver(func(context.Context, string, string) ([]netip.Addr, error) { panic("at the resolver") }),
			"panic: at the resolver", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := play(t, Config{Network: "tcp", Address: "name.example:80", Resolver: c.resolver})
			assert.Equal(t, []string{"resolved", "lookup name.example: " + c.text, "failed"}, o.steps)
			require.Len(t, o.errs, 1)
			require.EqualError(t, o.errs[0], c.text)
			if c.check != nil {
				c.check(o.errs[0])
			}
		})
	}
}

func TestRace_FailsIfNoAddressIsUsable(t *testing.T) {
	o := play(t, Config{Network: "tcp", Address: "name.example:80", Resolver: answer("", "")})
	assert.Equal(t, []string{"resolved", "lookup name.example  0", "lookup name.example  0", "failed"}, o.steps)
	require.Len(t, o.errs, 1)
	require.ErrorIs(t, o.errs[0], errInvalidIP)
	require.EqualError(t, o.errs[0], `host "name.example": the resolver's answer is not an IP address`)

	o = play(t, Config{Network: "tcp4", Address: "name.example:80", Resolver: answer("", "::1")})
	require.Len(t, o.errs, 1)
	assert.EqualError(t, o.errs[0], "address name.example: no suitable address")
}

func TestRace_FailsWithTheErrorOfEachAttempt(t *testing.T) {
	d := new(dials)
	o := newOwner(t, named(d))
	errs := map[string]error{first: errors.New("one"), second: errors.New("two"), third: errors.New("three")}
	o.race.Start(context.Background())
	o.task()
	o.timers[0].fn()
	o.timers[1].fn()
	for _, address := range []string{second, third, first} {
		assert.Empty(t, o.errs)
		d.at(address) <- outcome{err: errs[address]}
		o.task()
	}
	assert.Equal(t, []error{errs[second], errs[third], errs[first]}, o.errs)
	assert.Equal(t, "failed", o.steps[len(o.steps)-1])
	assert.Zero(t, o.offloaded)
}

func TestRace_StartsTheNextAttemptAfterTheDelay(t *testing.T) {
	d := new(dials)
	o := newOwner(t, named(d))
	o.race.Start(context.Background())
	o.task()
	assert.Equal(t, []string{first}, o.attempts())
	require.Len(t, o.timers, 1)
	assert.Equal(t, time.Second, o.timers[0].after)
	o.timers[0].fn()
	assert.Equal(t, []string{"timeout 10.0.0.1:80", "attempt tcp4 10.0.0.2:80 4 true"}, o.steps[len(o.steps)-2:])
	require.Len(t, o.timers, 2)
	o.timers[1].fn()
	assert.Equal(t, []string{first, second, third}, o.attempts())
	assert.Len(t, o.timers, 2, "no address is left for a timer")

	conn := newConn()
	d.at(first) <- outcome{conn: conn}
	o.run()
	assert.Same(t, conn, o.conn, "a slow attempt continues in parallel with the next ones")
	assert.Equal(t, "connected", o.steps[len(o.steps)-1], "the attempts that were cancelled are not reported")
}

func TestRace_StartsTheNextAttemptOnceOneHasFailed(t *testing.T) {
	d := new(dials)
	o := newOwner(t, named(d))
	o.race.Start(context.Background())
	o.task()
	d.at(first) <- outcome{err: errRefused}
	o.task()
	assert.Equal(t, []string{first, second}, o.attempts())
	require.Len(t, o.timers, 2)
	assert.True(t, o.timers[0].stopped)
	assert.False(t, o.timers[1].stopped)

	steps := len(o.steps)
	o.timers[0].fn() // was queued when it was stopped
	assert.Len(t, o.steps, steps)
	o.timers[1].fn()
	assert.Equal(t, []string{first, second, third}, o.attempts())
}

func TestRace_WithoutDelayTriesOneAddressAfterTheOther(t *testing.T) {
	d := new(dials)
	config := named(d)
	config.Delay = -1
	o := newOwner(t, config)
	o.race.Start(context.Background())
	o.task()
	for i, address := range []string{first, second, third} {
		assert.Len(t, o.attempts(), i+1)
		d.at(address) <- outcome{err: errRefused}
		o.task()
	}
	assert.Empty(t, o.timers)
	assert.Equal(t, []error{errRefused, errRefused, errRefused}, o.errs)
}

func TestRace_SkipsAddressesThatAreNotAllowed(t *testing.T) {
	errBlocked := errors.New("blocked")
	blocked := func(texts ...string) func(netip.Addr) error {
		return func(ip netip.Addr) error {
			for _, text := range texts {
				if ip.String() == text {
					return errBlocked
				}
			}
			return nil
		}
	}
	config := named(new(dials))
	config.Dial, config.Allow = nil, blocked("10.0.0.1", "10.0.0.3")
	o := play(t, config)
	assert.Equal(t, []string{second}, o.attempts())
	require.Len(t, o.errs, 3)
	require.EqualError(t, o.errs[0], "dial tcp4 10.0.0.1:80: blocked")
	assert.Equal(t, errRefused, o.errs[1])
	require.EqualError(t, o.errs[2], "dial tcp4 10.0.0.3:80: blocked")
	require.ErrorIs(t, o.errs[2], errBlocked)
	assert.IsType(t, &net.TCPAddr{}, o.errs[0].(*net.OpError).Addr)

	config.Allow = blocked("10.0.0.1", "10.0.0.2", "10.0.0.3")
	o = play(t, config)
	assert.Empty(t, o.attempts())
	assert.Len(t, o.errs, 3)

	o = play(t, Config{Network: "tcp", Address: first, Allow: blocked("10.0.0.1")})
	assert.Equal(t, []string{"failed"}, o.steps)
	assert.Len(t, o.errs, 1)

	// The delay of an attempt ends, but no other address is allowed. The attempt continues.
	d := new(dials)
	config = named(d)
	config.Allow = blocked("10.0.0.2", "10.0.0.3")
	o = newOwner(t, config)
	o.race.Start(context.Background())
	o.task()
	o.timers[0].fn()
	assert.Equal(t, "timeout 10.0.0.1:80", o.steps[len(o.steps)-1])
	d.at(first) <- outcome{err: errRefused}
	o.run()
	assert.Len(t, o.errs, 3)
	assert.Equal(t, errRefused, o.errs[2])
}

// After its Observer has reported a Race stale at any step, the Race makes no more calls.
func TestRace_StopsOnceItIsStale(t *testing.T) {
	start := func(stale string, d *dials) *owner {
		o := newOwner(t, named(d))
		o.after = func(step string) bool { return step != stale }
		o.race.Start(context.Background())
		o.task()
		return o
	}
	for _, stale := range []string{"resolved", "lookup name.example 10.0.0.1 4", "lookup name.example 10.0.0.3 4",
		"attempt tcp4 10.0.0.1:80 4 true"} {
		o := start(stale, new(dials))
		assert.Equal(t, stale, o.steps[len(o.steps)-1])
		assert.Zero(t, o.offloaded)
		assert.Empty(t, o.timers)
	}

	o := start("timeout 10.0.0.1:80", new(dials))
	o.timers[0].fn()
	assert.Equal(t, []string{first}, o.attempts())
	assert.Equal(t, "timeout 10.0.0.1:80", o.steps[len(o.steps)-1])

	d := new(dials)
	o = start("failed 10.0.0.1:80: refused", d)
	d.at(first) <- outcome{err: errRefused}
	o.run()
	assert.Equal(t, "failed 10.0.0.1:80: refused", o.steps[len(o.steps)-1])

	failing := resolver(func(context.Context, string, string) ([]netip.Addr, error) { return nil, errRefused })
	o = newOwner(t, Config{Network: "tcp", Address: "name.example:80", Resolver: failing})
	o.after = func(step string) bool { return step != "lookup name.example: refused" }
	o.race.Start(context.Background())
	o.run()
	assert.Equal(t, []string{"resolved", "lookup name.example: refused"}, o.steps)
}

func TestRace_CancelBeforeStart(t *testing.T) {
	for _, address := range []string{first, "name.example:80"} {
		o := newOwner(t, Config{Network: "tcp", Address: address})
		o.race.Cancel()
		o.race.Start(context.Background())
		assert.Zero(t, o.offloaded)
		assert.Empty(t, o.steps)
	}
}

func TestRace_CancelBeforeTheFirstStep(t *testing.T) {
	o := newOwner(t, Config{Network: "tcp", Address: first})
	o.race.Start(context.Background())
	o.race.Cancel()
	o.race.Cancel()
	o.run()
	assert.Empty(t, o.steps)
}

func TestRace_CancelEndsTheLookup(t *testing.T) {
	o := newOwner(t, Config{Network: "tcp", Address: "name.example:80",
		Resolver: resolver(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})})
	o.race.Start(context.Background())
	o.race.Cancel()
	o.run()
	assert.Equal(t, []string{"resolved"}, o.steps, "only the Observer knows that the Race is stale")
}

func TestRace_CancelEndsAttemptsAndTimers(t *testing.T) {
	d := new(dials)
	o := newOwner(t, named(d))
	o.race.Start(context.Background())
	o.task()
	o.timers[0].fn()
	steps := len(o.steps)
	o.race.Cancel()
	assert.True(t, o.timers[1].stopped)
	o.timers[1].fn() // was queued when it was stopped
	o.run()
	assert.Len(t, o.steps, steps)
}

func TestRace_StartsNoTimerOnceCancelled(t *testing.T) {
	o := newOwner(t, named(new(dials)))
	o.after = func(step string) bool {
		if step == "attempt tcp4 10.0.0.1:80 4 true" {
			o.race.Cancel() // by another goroutine, after the Observer has looked
		}
		return true
	}
	o.race.Start(context.Background())
	o.run()
	assert.Empty(t, o.timers)
	assert.Equal(t, []string{first}, o.attempts())
}

func TestRace_DiscardsConnectionsThatAreLate(t *testing.T) {
	// deaf does not return before it is allowed to, even if its context has ended.
	allow := map[string]chan net.Conn{first: make(chan net.Conn, 1), second: make(chan net.Conn, 1)}
	deaf := func(_ context.Context, _, address string) (net.Conn, error) { return <-allow[address], nil }
	config := named(nil)
	config.Dial = deaf

	o := newOwner(t, config)
	o.race.Start(context.Background())
	o.task()
	o.timers[0].fn()
	winner, loser := newConn(), newConn()
	allow[second] <- winner
	o.task()
	allow[first] <- loser
	o.run()
	assert.Equal(t, []string{"connected", "discard"}, o.steps[len(o.steps)-2:])
	assert.Same(t, winner, o.conn)
	assert.Equal(t, []net.Conn{loser}, o.closed)
	assert.True(t, loser.isClosed())
	assert.False(t, winner.isClosed())

	o = newOwner(t, config)
	o.race.Start(context.Background())
	o.task()
	o.race.Cancel()
	loser = newConn()
	allow[first] <- loser
	o.run()
	assert.Nil(t, o.conn)
	assert.True(t, loser.isClosed())
}

func TestRace_FailsWithTheErrorOfItsContext(t *testing.T) {
	for _, when := range []string{"before Start", "before the answer", "before an outcome", "before the delay has passed"} {
		t.Run(when, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			d := new(dials)
			o := newOwner(t, named(d))
			last := ""
			switch when {
			case "before Start":
				cancel()
				o.race.Start(ctx)
				o.run()
			case "before the answer":
				o.race.Start(ctx)
				cancel()
				o.run()
			case "before an outcome":
				o.race.Start(ctx)
				o.task()
				last = o.steps[len(o.steps)-1]
				cancel()
				o.run()
			case "before the delay has passed":
				o.race.Start(ctx)
				o.task()
				last = o.steps[len(o.steps)-1]
				cancel()
				o.timers[0].fn()
				o.run()
			}
			if last == "" {
				last = "resolved"
			}
			require.GreaterOrEqual(t, len(o.steps), 2)
			assert.Equal(t, []string{last, "failed"}, o.steps[len(o.steps)-2:], "the outcome of the context's end is not reported")
			assert.Equal(t, []error{context.Canceled}, o.errs)
		})
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := newOwner(t, Config{Network: "tcp", Address: first})
	o.race.Start(ctx)
	o.run()
	assert.Equal(t, []string{"failed"}, o.steps)
	assert.Equal(t, []error{context.Canceled}, o.errs)
}
