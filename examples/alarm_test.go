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

// alarmServer is a running alarm program with -listen.
type alarmServer struct {
	*terminal
	network, address string
	file             string // of its sensor
}

// startAlarm starts a server and returns when it listens. Its sensor is a file that contains readings; without readings,
// args select the sensor.
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

// write replaces the file of the sensor atomically.
func (s *alarmServer) write(t *testing.T, readings string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.file+".new", []byte(readings), 0o600))
	require.Eventually(t, func() bool { return os.Rename(s.file+".new", s.file) == nil }, patience, time.Millisecond) // Windows refuses while the file is open
}

// watch starts a manager and returns when it is connected.
func (s *alarmServer) watch(t *testing.T, args ...string) *alarmManager {
	t.Helper()
	m := watchAlarm(t, append([]string{"-network", s.network, "-connect", s.address}, args...)...)
	m.expect(t, "connected to "+s.address)
	return m
}

// alarmManager is a running alarm program with -connect.
type alarmManager struct{ *terminal }

func watchAlarm(t *testing.T, args ...string) *alarmManager {
	t.Helper()
	return &alarmManager{begin(t, program(t, "alarm", args...))}
}

// expectReports compares the next lines, ignoring the time and repeated spaces.
func (m *alarmManager) expectReports(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		line := m.line(t)
		require.Regexp(t, `^\d\d:\d\d:\d\d `, line)
		require.Equal(t, want, strings.Join(strings.Fields(line)[1:], " "))
	}
}

// interrupt sends a signal to a program and checks that it prints only these last lines.
func (at *terminal) interrupt(t *testing.T, sig os.Signal, last string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // there is no signal to end it with
	}
	require.NoError(t, at.process.Process.Signal(sig))
	rest, err := io.ReadAll(at.said)
	require.NoError(t, err)
	assert.Equal(t, last, string(rest))
	assert.NoError(t, at.process.Wait())
}

// alarmReport is a line of the protocol, decoded independently of the program.
type alarmReport struct {
	N        uint64
	Time     time.Time
	Readings []struct {
		Name, Level string
		Value       float64
	}
	Fault string
}

// alarmConn is a raw connection to the server.
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

// next returns the next report and skips heartbeats.
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

// Two managers receive every change, in order. A third one receives the state when it connects.
func TestAlarm_ReportsChanges(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := &alarmServer{network: network, file: filepath.Join(t.TempDir(), "readings")}
			s.write(t, "cpu 10\nmemory 30.04\n")
			s.listen(t, chatAddress(t, network), "-sensor", "file:"+s.file, "-every", "5ms", "-step", "2", "-limits", "60,80", "-limits", "memory=90,95")
			managers := []*alarmManager{s.watch(t), s.watch(t)}
			expect := func(lines ...string) {
				t.Helper()
				for _, m := range managers {
					m.expectReports(t, lines...)
				}
			}
			expect("cpu ok 10.0", "memory ok 30.0")
			for i := range 20 {
				s.write(t, fmt.Sprintf("memory 30\n\ncpu %d\n", 12+2*i)) // in any order
				expect(fmt.Sprintf("cpu ok %d.0", 12+2*i))
			}
			s.write(t, "cpu 51\nmemory 85\n") // a change below -step was not reported until now
			expect("cpu ok 51.0", "memory ok 85.0")
			s.write(t, "cpu 51\nmemory 90\ndisk 79.99\n")
			expect("memory warning 90.0", "disk alarm 80.0") // the level follows from the rounded value
			s.write(t, "cpu 51\nmemory 90\n")
			expect("disk removed")
			managers = append(managers, s.watch(t))
			managers[2].expectReports(t, "cpu ok 51.0", "memory warning 90.0")
			s.write(t, "cpu 99\nmemory 12\n")
			expect("cpu alarm 99.0", "memory ok 12.0")
			for _, m := range managers {
				m.interrupt(t, os.Interrupt, "closed\n")
			}
			s.interrupt(t, os.Interrupt, "closed\n")
		})
	}
}

// A value that oscillates around a limit changes its level once.
func TestAlarmHysteresis(t *testing.T) {
	s := startAlarm(t, "t 0", "-limits", "50,70", "-hysteresis", "10", "-step", "1000")
	c := s.dial(t)
	c.next(t)
	seen := 1.0
	for _, step := range []struct {
		value float64
		level string // "" if nothing is reported
	}{
		{49.9, ""}, {50, "warning"}, {49, ""}, {40, ""}, {51, ""}, {39.9, "ok"}, {49.9, ""}, {70, "alarm"}, {60, ""}, {69, ""},
		{59.9, "warning"}, {69.9, ""}, {40, ""}, {71, "alarm"}, {39.9, "ok"}, {100, "alarm"}, {-1e300, "ok"},
	} {
		// To check that a value is not reported, the test adds another reading, whose report must come next.
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

// Two managers that read receive every report, in order and with the same contents.
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

// A manager that does not read misses intermediate reports, which the server does not queue. It receives the newest one.
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
	t.Logf("missed %d of %d", missed, last)
	assert.Greater(t, missed, uint64(1000))
}

// The server discards what managers send, whatever its size.
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
	_ = c.Close() // sends a reset
	s.write(t, "cpu 3")
	for c = s.dial(t); c.next(t).Readings[0].Value != 3; { // the old value may come first
	}
	s.interrupt(t, os.Interrupt, "closed\n")
}

func TestAlarmIsFull(t *testing.T) {
	s := startAlarm(t, "cpu 1", "-managers", "1")
	c := s.dial(t)
	c.next(t)
	second := s.watch(t, "-retry", "5ms", "-retry-max", "20ms")
	for first := true; ; first = false {
		reason, wait := second.retries(t)
		assert.Contains(t, reason, s.address)
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
	m.expectReports(t, "cpu ok 1.0")
	for content, fault := range map[string]string{
		"cpu":                          `invalid line "cpu"`,
		"cpu one":                      `invalid line "cpu one"`,
		"cpu 1 2":                      `invalid line "cpu 1 2"`,
		"cpu NaN":                      "cpu: value NaN is not finite",
		"cpu +Inf":                     "cpu: value +Inf is not finite",
		"cpu 1\ncpu 2":                 "duplicate name cpu",
		"\n\n":                         "no readings",
		"\x1b[2Jcpu 1":                 "invalid name",
		"cp\xffu 1":                    "invalid name",
		"c\u202epu 1":                  "invalid name",
		manyReadings(33):               "33 readings, more than the limit of 32",
		strings.Repeat("n", 33) + " 1": "invalid name",
	} {
		s.write(t, content)
		line := m.line(t)
		assert.Contains(t, line, "sensor failed: ")
		assert.Contains(t, strings.ReplaceAll(line, `\"`, `"`), fault)
		assert.NotContains(t, line, "\x1b")
		s.write(t, "cpu 1")
		m.expectReports(t, "sensor recovered")
		assert.Contains(t, s.line(t), "sensor: ")
	}
	s.write(t, "no\n")
	assert.Contains(t, m.line(t), "sensor failed: ")
	c := s.dial(t)
	r := c.next(t) // a new manager receives both the error and the last readings
	assert.Contains(t, r.Fault, "want a name and a value")
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

// A sensor that does not answer blocks neither the server nor its heartbeat, and is reported as failed.
func TestAlarmSensorHangs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("mkfifo"); err != nil {
		t.Skip("mkfifo is missing")
	}
	s := startAlarm(t, "cpu 1", "-beat", "10ms")
	m := s.watch(t)
	m.expectReports(t, "cpu ok 1.0")
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, exec.Command("mkfifo", fifo).Run())
	require.NoError(t, os.Rename(fifo, s.file))
	m.expectReports(t, `sensor failed: "no answer"`)
	c := s.dial(t)
	assert.Equal(t, "no answer", c.next(t).Fault)
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
	m.expectReports(t, "cpu alarm 99.0", "sensor recovered")
	s.expect(t, "sensor: no answer")
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
