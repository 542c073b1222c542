package examples_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alarmServer is the alarm program with -listen.
type alarmServer struct {
	*terminal
	network, address string
	file             string // of its sensor
}

// startAlarm returns once the server listens; its sensor is a file, unless the arguments say otherwise.
func startAlarm(t *testing.T, readings string, args ...string) *alarmServer {
	t.Helper()
	s := &alarmServer{network: "tcp", file: filepath.Join(t.TempDir(), "readings")}
	if readings != "" {
		s.write(t, readings)
		args = append([]string{"-sensor", "file:" + s.file, "-every", "5ms"}, args...)
	}
	s.listen(t, "127.0.0.1:0", args...)
	return s
}

func (s *alarmServer) listen(t *testing.T, address string, args ...string) {
	t.Helper()
	s.terminal = begin(t, program(t, "alarm", append([]string{"-network", s.network, "-listen", address}, args...)...))
	line := s.line(t)
	var ok bool
	s.address, ok = strings.CutPrefix(line, "listening on ")
	require.True(t, ok, line)
}

// write replaces the file of the sensor at once.
func (s *alarmServer) write(t *testing.T, readings string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.file+".new", []byte(readings), 0o600))
	require.Eventually(t, func() bool { return os.Rename(s.file+".new", s.file) == nil }, patience, time.Millisecond) // windows refuses while it is read
}

// watch starts a manager, and returns once it is connected.
func (s *alarmServer) watch(t *testing.T, args ...string) *alarmManager {
	t.Helper()
	m := watchAlarm(t, append([]string{"-network", s.network, "-connect", s.address}, args...)...)
	m.expect(t, "connected to "+s.address)
	return m
}

// alarmManager is the alarm program with -connect.
type alarmManager struct{ *terminal }

func watchAlarm(t *testing.T, args ...string) *alarmManager {
	t.Helper()
	return &alarmManager{begin(t, program(t, "alarm", args...))}
}

// tells compares the next lines, but for the time and the blanks in them.
func (m *alarmManager) tells(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		line := m.line(t)
		require.Regexp(t, `^\d\d:\d\d:\d\d `, line)
		require.Equal(t, want, strings.Join(strings.Fields(line)[1:], " "))
	}
}

// interrupt ends a program, which must print these lines only before it is gone.
func (at *terminal) interrupt(t *testing.T, sig os.Signal, last string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // which knows no signal to end it with
	}
	require.NoError(t, at.process.Process.Signal(sig))
	rest, err := io.ReadAll(at.said)
	require.NoError(t, err)
	assert.Equal(t, last, string(rest))
	assert.NoError(t, at.process.Wait())
}

// alarmReport is a line of the protocol, as somebody else would read it.
type alarmReport struct {
	N        uint64
	Time     time.Time
	Readings []struct {
		Name, Level string
		Value       float64
	}
	Fault string
}

// alarmConn is a connection to the server that is no manager of ours.
type alarmConn struct {
	net.Conn
	lines *bufio.Reader
}

func (s *alarmServer) dial(t *testing.T) *alarmConn {
	t.Helper()
	conn, err := net.Dial(s.network, s.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &alarmConn{conn, bufio.NewReader(conn)}
}

// next is the next report that is no heartbeat.
func (c *alarmConn) next(t *testing.T) (r alarmReport) {
	t.Helper()
	for r.Time.IsZero() {
		line, err := c.lines.ReadBytes('\n')
		require.NoError(t, err)
		r = alarmReport{}
		require.NoError(t, json.Unmarshal(line, &r), "%s", line)
	}
	return r
}

func TestAlarmPage(t *testing.T) {
	t.Parallel()
	play(t, "alarm", "9100")
}

// Two managers hear every change, in order; a third one hears the state when it comes.
func TestAlarm_ReportsChanges(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := &alarmServer{network: network, file: filepath.Join(t.TempDir(), "readings")}
			s.write(t, "cpu 10\nmemory 30.04\n")
			s.listen(t, chatAddress(t, network), "-sensor", "file:"+s.file, "-every", "5ms", "-step", "2", "-limits", "60,80", "-limits", "memory=90,95")
			managers := []*alarmManager{s.watch(t), s.watch(t)}
			told := func(lines ...string) {
				t.Helper()
				for _, m := range managers {
					m.tells(t, lines...)
				}
			}
			told("cpu ok 10.0", "memory ok 30.0")
			for i := range 20 {
				s.write(t, fmt.Sprintf("memory 30\n\ncpu %d\n", 12+2*i)) // in any order
				told(fmt.Sprintf("cpu ok %d.0", 12+2*i))
			}
			s.write(t, "cpu 51\nmemory 85\n") // one that moved less is told by its way
			told("cpu ok 51.0", "memory ok 85.0")
			s.write(t, "cpu 51\nmemory 90\ndisk 79.99\n")
			told("memory warning 90.0", "disk alarm 80.0") // as it is told, it is judged
			s.write(t, "cpu 51\nmemory 90\n")
			told("disk is not watched any more")
			managers = append(managers, s.watch(t))
			managers[2].tells(t, "cpu ok 51.0", "memory warning 90.0")
			s.write(t, "cpu 99\nmemory 12\n")
			told("cpu alarm 99.0", "memory ok 12.0")
			for _, m := range managers {
				m.interrupt(t, os.Interrupt, "closed\n")
			}
			s.interrupt(t, os.Interrupt, "closed\n")
		})
	}
}

// A value that trembles about a limit changes its level once.
func TestAlarmHysteresis(t *testing.T) {
	s := startAlarm(t, "t 0", "-limits", "50,70", "-hysteresis", "10", "-step", "1000")
	c := s.dial(t)
	c.next(t)
	seen := 1.0
	for _, step := range []struct {
		value float64
		level string // "" if nothing is told
	}{
		{49.9, ""}, {50, "warning"}, {49, ""}, {40, ""}, {51, ""}, {39.9, "ok"}, {49.9, ""}, {70, "alarm"}, {60, ""}, {69, ""},
		{59.9, "warning"}, {69.9, ""}, {40, ""}, {71, "alarm"}, {39.9, "ok"}, {100, "alarm"}, {-1e300, "ok"},
	} {
		// What is not told is told by its not coming before the mark.
		s.write(t, fmt.Sprintf("t %g\n", step.value))
		if step.level != "" {
			r := c.next(t)
			require.Equal(t, step.level, r.Readings[0].Level, "%v", step.value)
			require.Equal(t, step.value, r.Readings[0].Value)
			continue
		}
		seen++
		s.write(t, fmt.Sprintf("t %g\nmark 0\n", step.value))
		r := c.next(t)
		require.Len(t, r.Readings, 2, "%v", step.value)
		s.write(t, fmt.Sprintf("t %g\n", step.value))
		r = c.next(t)
		require.Len(t, r.Readings, 1, "%v", step.value)
	}
}

// Every report reaches each of two who read, one after the other, and both the same.
func TestAlarmReportsAreWhole(t *testing.T) {
	t.Parallel()
	s := startAlarm(t, "", "-sensor", "simulated", "-seed", "7", "-every", "1ms", "-step", "0", "-beat", "3ms")
	a, b := s.dial(t), s.dial(t)
	ra, rb := a.next(t), b.next(t)
	for ra.N < rb.N {
		ra = a.next(t)
	}
	for rb.N < ra.N {
		rb = b.next(t)
	}
	for range 500 {
		require.Equal(t, ra, rb)
		n := ra.N
		ra, rb = a.next(t), b.next(t)
		require.Equal(t, n+1, ra.N)
	}
	again := startAlarm(t, "", "-sensor", "simulated", "-seed", "7", "-every", "1h", "-step", "0")
	s2 := startAlarm(t, "", "-sensor", "simulated", "-seed", "7", "-every", "1h", "-step", "0")
	other := startAlarm(t, "", "-sensor", "simulated", "-seed", "8", "-every", "1h", "-step", "0")
	first := again.dial(t).next(t).Readings
	assert.Equal(t, first, s2.dial(t).next(t).Readings)
	assert.NotEqual(t, first, other.dial(t).next(t).Readings)
}

// A manager that does not read misses what was between, which nobody keeps for it, and is told the newest in the end.
func TestAlarmSlowManager(t *testing.T) {
	t.Parallel()
	changes := evtest.Pick[uint64](5_000, 10_000)
	s := startAlarm(t, "", "-sensor", "simulated", "-every", "100us", "-step", "0", "-beat", "1ms")
	fast, slow := s.dial(t), s.dial(t)
	last := slow.next(t).N
	for fast.next(t).N < last+changes {
	}
	newest := fast.next(t).N
	missed := uint64(0)
	for last < newest {
		n := slow.next(t).N
		require.Greater(t, n, last)
		missed += n - last - 1
		last = n
	}
	t.Logf("it missed %d of %d", missed, last)
	assert.Greater(t, missed, uint64(1000))
}

// What managers say is thrown away, however much it is.
func TestAlarmServerIgnoresGarbage(t *testing.T) {
	s := startAlarm(t, "cpu 1", "-step", "1")
	before := memory(t, s.process.Process.Pid)
	c := s.dial(t)
	c.next(t)
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n{}\n")
	require.NoError(t, err)
	for range 256 {
		_, err := c.Write(make([]byte, 1<<16))
		require.NoError(t, err)
	}
	s.write(t, "cpu 2")
	assert.EqualValues(t, 2, c.next(t).N)
	assert.Less(t, memory(t, s.process.Process.Pid)-before, 16<<20)
	require.NoError(t, c.Conn.(*net.TCPConn).SetLinger(0))
	_ = c.Close() // by a reset
	s.write(t, "cpu 3")
	for c = s.dial(t); c.next(t).Readings[0].Value != 3; { // what it was before may come first
	}
	s.interrupt(t, os.Interrupt, "closed\n")
}

func TestAlarmIsFull(t *testing.T) {
	s := startAlarm(t, "cpu 1", "-managers", "1")
	c := s.dial(t)
	c.next(t)
	second := s.watch(t, "-retry", "5ms", "-retry-max", "20ms")
	for first := true; ; first = false {
		why, wait := second.retries(t)
		assert.Contains(t, why, s.address)
		assert.LessOrEqual(t, wait, 20*time.Millisecond)
		if !first {
			break
		}
		second.expect(t, "connected to "+s.address)
	}
	require.NoError(t, c.Close())
	for {
		line := second.line(t)
		if strings.HasSuffix(line, "1.0") {
			break
		}
	}
}

func TestAlarmSensorFails(t *testing.T) {
	s := startAlarm(t, "cpu 1", "-step", "1")
	m := s.watch(t)
	m.tells(t, "cpu ok 1.0")
	for content, fault := range map[string]string{
		"cpu":                          `"cpu" is not a name and a value`,
		"cpu one":                      `"cpu one" is not a name and a value`,
		"cpu 1 2":                      `"cpu 1 2" is not a name and a value`,
		"cpu NaN":                      "cpu is NaN, which is no value",
		"cpu +Inf":                     "cpu is +Inf, which is no value",
		"cpu 1\ncpu 2":                 "cpu is there twice",
		"\n\n":                         "has no readings",
		"\x1b[2Jcpu 1":                 "is no name",
		"cp\xffu 1":                    "is no name",
		"c\u202epu 1":                  "is no name",
		manyReadings(33):               "there are 33 readings: at most 32 are taken",
		strings.Repeat("n", 33) + " 1": "is no name",
	} {
		s.write(t, content)
		line := m.line(t)
		assert.Contains(t, line, "the sensor fails: ")
		assert.Contains(t, strings.ReplaceAll(line, `\"`, `"`), fault)
		assert.NotContains(t, line, "\x1b")
		s.write(t, "cpu 1")
		m.tells(t, "the sensor works again")
		assert.Contains(t, s.line(t), "the sensor: ")
	}
	s.write(t, "no\n")
	assert.Contains(t, m.line(t), "the sensor fails: ")
	c := s.dial(t)
	r := c.next(t) // who comes now is told both
	assert.Contains(t, r.Fault, "is not a name and a value")
	assert.Equal(t, 1.0, r.Readings[0].Value)
	s.write(t, manyReadings(32))
	assert.Len(t, c.next(t).Readings, 32)
}

func manyReadings(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "reading-%s-%d %d\n", strings.Repeat("<", 10), i, i)
	}
	return text.String()
}

// A sensor that does not answer stops neither the server nor its heartbeat, and is told.
func TestAlarmSensorHangs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("mkfifo"); err != nil {
		t.Skip("mkfifo is missing")
	}
	s := startAlarm(t, "cpu 1", "-beat", "10ms")
	m := s.watch(t)
	m.tells(t, "cpu ok 1.0")
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, exec.Command("mkfifo", fifo).Run())
	require.NoError(t, os.Rename(fifo, s.file))
	m.tells(t, `the sensor fails: "it does not answer"`)
	c := s.dial(t)
	assert.Equal(t, "it does not answer", c.next(t).Fault)
	for range 3 {
		line, err := c.lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, `{"n":2}`+"\n", line)
	}
	w, err := os.OpenFile(s.file, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(w, "cpu 99\n")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	m.tells(t, "cpu alarm 99.0", "the sensor works again")
	s.expect(t, "the sensor: it does not answer")
}

func TestAlarmWatchesTheMachine(t *testing.T) {
	s := startAlarm(t, "", "-every", "20ms", "-step", "0")
	c := s.dial(t)
	for range 3 {
		r := c.next(t)
		require.Len(t, r.Readings, 2)
		for i, name := range []string{"cpu", "memory"} {
			assert.Equal(t, name, r.Readings[i].Name)
			assert.GreaterOrEqual(t, r.Readings[i].Value, 0.0)
			assert.LessOrEqual(t, r.Readings[i].Value, 100.0)
		}
		assert.NotZero(t, r.Readings[1].Value, "some memory is always in use")
	}
}
