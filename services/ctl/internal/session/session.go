// Package session keeps who is signed in, in a file that only its owner can read.
// It does not decide what a session is worth; the server does, at each request.
package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Session is a session at a gateway.
type Session struct {
	URL string `json:"url"`
	// Authority is the file with the gateway's certificate authority; empty: the system's.
	Authority string `json:"authority,omitempty"`
	Username  string `json:"username"`
	Token     string `json:"token,omitempty"`
	// Device names this device at the next sign-in; it outlives the session.
	Device string `json:"device,omitempty"`
	// Expires is when it ends however much it is used; without use it ends sooner.
	Expires time.Time `json:"expires"`
}

// ErrNone says that nobody is signed in.
var ErrNone = errors.New("nobody is signed in: run carekeep sign-in")

// File is where the session is kept unless the user names another file.
func File() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the session file (%w): name one with --session", err)
	}
	return filepath.Join(folder, "carekeep", "session.json"), nil
}

// Save writes the session in one step: a reader sees the old one or the new one.
func Save(file string, s Session) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("save the session: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("save the session: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".session-*") // mode 0600
	if err != nil {
		return fmt.Errorf("save the session: %w", err)
	}
	defer os.Remove(part.Name()) //nolint:errcheck // renamed by then, unless something failed
	_, err = part.Write(append(raw, '\n'))
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("save the session: %w", err)
	}
	if err := os.Rename(part.Name(), file); err != nil {
		return fmt.Errorf("save the session: %w", err)
	}
	return nil
}

// Load reads the session; ErrNone where there is none.
func Load(file string) (Session, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Session{}, ErrNone
	}
	if err != nil {
		return Session{}, fmt.Errorf("read the session: %w", err)
	}
	// Windows has no such modes; there the user's profile folder protects the file.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return Session{}, fmt.Errorf("others can read the session file %s: remove it and run carekeep sign-in", file)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return Session{}, fmt.Errorf("read the session: %w", err)
	}
	var s Session
	// A decoding error may quote the file, which holds the token.
	if json.Unmarshal(raw, &s) != nil || s.URL == "" || s.Token == "" && s.Device == "" {
		return Session{}, fmt.Errorf("the session file %s is damaged: remove it and run carekeep sign-in", file)
	}
	if s.Token == "" {
		return s, ErrNone
	}
	return s, nil
}

// Device is how this device names itself to the gateway for that user; empty where it was never told.
func Device(file, url, username string) string {
	s, err := Load(file)
	if err != nil && !errors.Is(err, ErrNone) || s.URL != url || s.Username != username {
		return ""
	}
	return s.Device
}

// Remove forgets the session. The device stays known, unless it never was.
func Remove(file string) error {
	s, err := Load(file)
	if err == nil && s.Device != "" {
		s.Token, s.Expires = "", time.Time{}
		return Save(file, s)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the session: %w", err)
	}
	return nil
}
