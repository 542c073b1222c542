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

// A record is one line of raw.jsonl: what one implementation did in one round of a workload. Three
// other kinds of line say what is to be known of a workload: the machine that it ran on, that it was
// left out, and that an implementation does not do it.
type record struct {
	Workload string   `json:"workload"`
	Machine  *machine `json:"machine,omitempty"`
	LeftOut  string   `json:"left_out,omitempty"`

	Impl        string `json:"impl,omitempty"`
	Unsupported string `json:"unsupported,omitempty"`

	Round  int           `json:"round,omitempty"`
	Failed string        `json:"failed,omitempty"` // why the round has no figures
	Load   *figures.Load `json:"load,omitempty"`

	RSS        int64  `json:"rss,omitempty"` // bytes of the server at the end
	Goroutines int64  `json:"goroutines,omitempty"`
	Mallocs    *int64 `json:"mallocs,omitempty"` // from start to end; nil where the runtime has no count

	// Of the workload idle: bytes before there were connections, with them, and after the server
	// had been told to give back what it could.
	Conns     int   `json:"conns,omitempty"`
	RSSBefore int64 `json:"rss_before,omitempty"`
	RSSOpen   int64 `json:"rss_open,omitempty"`
	RSSRested int64 `json:"rss_rested,omitempty"`
}

const rawName = "raw.jsonl"

// readRaw reads the records of a directory; there are none when it has no file.
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
			return nil, fmt.Errorf("%s:%d: there is no workload %q (any more): take its lines out", name, n, r.Workload)
		}
		records = append(records, r)
	}
	return records, lines.Err()
}

// replaceRaw puts the records of one workload in the place of those that the directory has of it.
// The file is replaced as a whole, so that a run that is broken off leaves no half of a workload.
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
