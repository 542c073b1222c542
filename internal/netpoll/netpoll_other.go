//go:build !linux

package netpoll

import (
	"errors"
	"syscall"
)

// Events are what a descriptor is watched for, or what is reported for it.
type Events uint32

// The events.
const (
	Readable Events = 1 << iota
	Writable
	Failed
	Hungup
	EdgeTriggered
)

// Poller is not available: New fails.
type Poller struct{}

// New fails.
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

func (*Poller) Close()                  {}
func (*Poller) Poll() int               { return 0 }
func (*Poller) PollBusy() int           { return 0 }
func (*Poller) Wait() int               { return 0 }
func (*Poller) SkipSpins()              {}
func (*Poller) Wake()                   {}
func (*Poller) Event(int) (int, Events) { return 0, 0 }

// Call is unusable without a Poller: its methods fail.
type Call struct{}

// NewCall returns a Call.
func NewCall() *Call { return &Call{} }

func (*Call) Read(syscall.RawConn, []byte) (int, bool, error)         { return 0, false, errors.ErrUnsupported }
func (*Call) Peek(syscall.RawConn) (int, bool, error)                 { return 0, false, errors.ErrUnsupported }
func (*Call) HasRoom() bool                                           { return false }
func (*Call) Add([]byte)                                              {}
func (*Call) Write(syscall.RawConn) (int, error)                      { return 0, errors.ErrUnsupported }
func (*Call) Watch(syscall.RawConn, *Poller, bool, int, Events) error { return errors.ErrUnsupported }
func (*Call) Unwatch(syscall.RawConn, *Poller)                        {}

// SplicePipe is not available: NewSplicePipe fails.
type SplicePipe struct{}

// NewSplicePipe fails.
func NewSplicePipe() (*SplicePipe, error) { return nil, errors.ErrUnsupported }

func (*SplicePipe) Len() int        { return 0 }
func (*SplicePipe) Close()          {}
func (*SplicePipe) ReadAll() []byte { return nil }

func (*Call) Fill(syscall.RawConn, *SplicePipe) (int, error)  { return 0, errors.ErrUnsupported }
func (*Call) Drain(syscall.RawConn, *SplicePipe) (int, error) { return 0, errors.ErrUnsupported }
func (*Call) SendFile(syscall.RawConn, syscall.RawConn, int) (int, bool, error) {
	return 0, false, errors.ErrUnsupported
}
