//go:build !linux

// Package netpoll waits for many sockets at once. There is none of it on this system: New fails.
package netpoll

import (
	"errors"
	"syscall"
)

// Events is what a descriptor is watched for, or what has happened to it.
type Events uint32

// The events.
const (
	Readable Events = 1 << iota
	Writable
	Failed
	Hungup
	Once
)

// Poller cannot be had.
type Poller struct{}

// New fails.
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

func (*Poller) Close()                  {}
func (*Poller) Poll() int               { return 0 }
func (*Poller) Look() int               { return 0 }
func (*Poller) Wait() int               { return 0 }
func (*Poller) Park()                   {}
func (*Poller) Wake()                   {}
func (*Poller) Event(int) (int, Events) { return 0, 0 }

// Call is of no use without a Poller.
type Call struct{}

// NewCall makes one.
func NewCall() *Call { return &Call{} }

func (*Call) Read(syscall.RawConn, []byte) (int, bool, error)         { return 0, false, errors.ErrUnsupported }
func (*Call) Peek(syscall.RawConn) (int, bool, error)                 { return 0, false, errors.ErrUnsupported }
func (*Call) Room() bool                                              { return false }
func (*Call) Add([]byte)                                              {}
func (*Call) Write(syscall.RawConn) (int, error)                      { return 0, errors.ErrUnsupported }
func (*Call) Watch(syscall.RawConn, *Poller, bool, int, Events) error { return errors.ErrUnsupported }
func (*Call) Forget(syscall.RawConn, *Poller)                         {}

// Tube cannot be had.
type Tube struct{}

// NewTube fails.
func NewTube() (*Tube, error) { return nil, errors.ErrUnsupported }

func (*Tube) Held() int    { return 0 }
func (*Tube) Close()       {}
func (*Tube) Pour() []byte { return nil }

func (*Call) Fill(syscall.RawConn, *Tube) (int, error)  { return 0, errors.ErrUnsupported }
func (*Call) Drain(syscall.RawConn, *Tube) (int, error) { return 0, errors.ErrUnsupported }
func (*Call) SendFile(syscall.RawConn, syscall.RawConn, int) (int, bool, error) {
	return 0, false, errors.ErrUnsupported
}
