package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("refused")

// owner is the loop and the Observer of one Race. It records each step. Its timers fire when a test fires them.
type owner struct {
	t         *testing.T
	race      *Race
	tasks     chan func()
	running   sync.WaitGroup // goroutines of Offload
	offloaded int            // tasks that will still arrive

	steps  []string
	errs   []error
	conn   net.Conn
	closed []net.Conn
	timers []*timer
	// after is called at the end of each step with its text. It returns false to make the Race stale.
	after func(step string) bool
}

type timer struct {
	after   time.Duration
	fn      func()
	stopped bool
}

func (o *owner) step(format string, args ...any) bool {
	step := fmt.Sprintf(format, args...)
	o.steps = append(o.steps, step)
	return o.after == nil || o.after(step)
}

func (o *owner) Resolved() bool { return o.step("resolved") }

func (o *owner) Lookup(l Lookup) bool {
	if l.Err != nil {
		return o.step("lookup %s: %v", l.Host, l.Err)
	}
	return o.step("lookup %s %s %d", l.Host, l.Address, l.Family)
}

func (o *owner) Attempt(a Attempt, several bool) bool {
	return o.step("attempt %s %s %d %t", a.Network, a.Address, a.Family, several)
}

func (o *owner) AttemptTimeout(a Attempt) bool { return o.step("timeout %s", a.Address) }

func (o *owner) AttemptFailed(a Attempt, err error) bool {
	return o.step("failed %s: %v", a.Address, err)
}

func (o *owner) Connected(conn net.Conn) {
	o.conn = conn
	o.race.Cancel()
	o.step("connected")
}

func (o *owner) Failed(errs []error) {
	o.errs = errs
	o.race.Cancel()
	o.step("failed")
}

func (o *owner) Discard(conn net.Conn) {
	o.closed = append(o.closed, conn)
	assert.NoError(o.t, conn.Close())
	o.step("discard")
}

func (o *owner) Post(fn func()) {
	o.offloaded++
	o.tasks <- fn
}

func (o *owner) Offload(fn func() error, done func(error)) {
	o.offloaded++
	o.running.Go(func() {
		o.Contain(fn, func(err error) { o.tasks <- func() { done(err) } })
	})
}

func (o *owner) Contain(fn func() error, done func(error)) {
	err := errors.New("runtime.Goexit was called")
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
		done(err)
	}()
	err = fn()
}

func (o *owner) AfterFunc(d time.Duration, fn func()) (stop func()) {
	t := &timer{after: d, fn: fn}
	o.timers = append(o.timers, t)
	return func() { t.stopped = true }
}

// task runs the next task of the loop.
func (o *owner) task() {
	fn := <-o.tasks
	o.offloaded--
	fn()
}

// run runs the loop until nothing is left to do.
func (o *owner) run() {
	for o.offloaded > 0 {
		o.task()
	}
}

// newOwner returns the owner of a new Race. It sets unset fields of config so that no network is used.
func newOwner(t *testing.T, config Config) *owner {
	o := &owner{t: t, tasks: make(chan func(), 100)}
	t.Cleanup(func() {
		if o.race != nil {
			o.race.Cancel()
		}
		o.running.Wait()
		if o.conn != nil {
			_ = o.conn.Close()
		}
	})
	if config.Resolver == nil {
		config.Resolver = resolver(func(context.Context, string, string) ([]netip.Addr, error) {
			t.Error("the resolver was called")
			return nil, errRefused
		})
	}
	if config.Dialer == nil && config.Dial == nil {
		config.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }
	}
	if config.CheckPath == nil {
		config.CheckPath = func(string) error { return nil }
	}
	config.Loop, config.Observer = o, o
	race, err := New(config)
	require.NoError(t, err)
	o.race = race
	return o
}

// play starts a Race and runs it to its end.
func play(t *testing.T, config Config) *owner {
	o := newOwner(t, config)
	o.race.Start(context.Background())
	o.run()
	return o
}

// attempts returns the addresses that were tried, in order.
func (o *owner) attempts() (all []string) {
	for _, step := range o.steps {
		var network, address string
		if n, _ := fmt.Sscanf(step, "attempt %s %s", &network, &address); n == 2 {
			all = append(all, address)
		}
	}
	return all
}

// resolver is a Resolver that is a function.
type resolver func(ctx context.Context, network, host string) ([]netip.Addr, error)

func (f resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return f(ctx, network, host)
}

// answer is a Resolver that returns the same addresses for every host. "" is the invalid address.
func answer(texts ...string) Resolver {
	return resolver(func(context.Context, string, string) ([]netip.Addr, error) { return addrs(texts...), nil })
}

func addrs(texts ...string) (ips []netip.Addr) {
	for _, text := range texts {
		ip, _ := netip.ParseAddr(text)
		ips = append(ips, ip)
	}
	return ips
}

// outcome is the result of one attempt at an address.
type outcome struct {
	conn net.Conn
	err  error
}

// dials is a Config.Dial whose attempts wait until the test decides on them, or until their context ends.
type dials struct {
	mu      sync.Mutex
	waiting map[string]chan outcome
}

func (d *dials) at(address string) chan outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[string]chan outcome{}
	}
	if d.waiting[address] == nil {
		d.waiting[address] = make(chan outcome, 1)
	}
	return d.waiting[address]
}

func (d *dials) dial(ctx context.Context, _, address string) (net.Conn, error) {
	select {
	case o := <-d.at(address):
		return o.conn, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// nullConn is a net.Conn that can be closed only.
type nullConn struct {
	net.Conn
	closed chan struct{}
}

func newConn() *nullConn { return &nullConn{closed: make(chan struct{})} }

func (c *nullConn) Close() error {
	select {
	case <-c.closed:
		return io.ErrClosedPipe
	default:
		close(c.closed)
		return nil
	}
}

func (c *nullConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}
