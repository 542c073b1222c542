package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"evnet/bench/figures"
)

// A record is one line of raw.jsonl: the figures of one implementation in one round of a workload.
// There are three other kinds of lines for a workload: the machine on which it ran, the reason why it
// was skipped, and the reason why an implementation does not support it.
type record struct {
	Workload string   `json:"workload"`
	Machine  *machine `json:"machine,omitempty"`
	LeftOut  string   `json:"left_out,omitempty"`

	Impl        string `json:"impl,omitempty"`
	Unsupported string `json:"unsupported,omitempty"`

	Round  int           `json:"round,omitempty"`
	Failed string        `json:"failed,omitempty"` // the reason why the round has no figures
	Load   *figures.Load `json:"load,omitempty"`

	RSS        int64  `json:"rss,omitempty"` // resident bytes of the server at the end
	Goroutines int64  `json:"goroutines,omitempty"`
	Mallocs    *int64 `json:"mallocs,omitempty"` // between the marks; nil if the runtime does not count them

	// The workload idle only: resident bytes before the first connection, with all connections open, and
	// after the server has then released unused memory.
	Conns     int   `json:"conns,omitempty"`
	RSSBefore int64 `json:"rss_before,omitempty"`
	RSSOpen   int64 `json:"rss_open,omitempty"`
	RSSRested int64 `json:"rss_rested,omitempty"`
}

const rawName = "raw.jsonl"

// readRaw reads the records of a directory. A directory without a raw file has none.
func readRaw(dir string) ([]record, error) {
	name := filepath.Join(dir, rawName)
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []record
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if findWorkload(r.Workload) == nil {
			return nil, fmt.Errorf("%s:%d: no workload %q: remove its lines if it was renamed or deleted", name, n, r.Workload)
		}
		records = append(records, r)
	}
	return records, lines.Err()
}

// replaceRaw replaces the records of one workload in the raw file of a directory. It replaces the whole
// file atomically, so that an interrupted run does not leave an incomplete workload.
func replaceRaw(dir, workload string, records []record) error {
	all, err := readRaw(dir)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r record) bool { return r.Workload == workload })
	var content bytes.Buffer
	lines := json.NewEncoder(&content)
	for _, r := range append(all, records...) {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return replaceFile(filepath.Join(dir, rawName), content.Bytes())
}

func replaceFile(name string, content []byte) error {
	if err := os.WriteFile(name+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func findWorkload(name string) *workload {
	for i := range workloads {
		if workloads[i].name == name {
			return &workloads[i]
		}
	}
	return nil
}
