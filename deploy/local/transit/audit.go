package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// audit is the audit device: one JSON line a request, who did what and whether
// it was allowed, never what went in or came out.
type audit struct {
	mu   sync.Mutex
	file *os.File
}

type record struct {
	Time      time.Time `json:"time"`
	Request   string    `json:"request_id"`
	Identity  string    `json:"identity"`
	Operation string    `json:"operation"`
	Path      string    `json:"path"`
	Address   string    `json:"remote_address"`
	Outcome   string    `json:"outcome"` // allowed, denied or failed
	Status    int       `json:"status"`
}

func openAudit(path string) (*audit, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &audit{file: file}, err
}

// write fails the request it records, as Vault's audit devices do.
func (a *audit) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.file.Write(append(line, '\n'))
	return err
}

// Close closes the file.
func (a *audit) Close() error { return a.file.Close() }
