package inbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Message is a mail or a text message as it arrived.
type Message struct {
	ID string `json:"id"`
	// Kind is "mail" or "sms".
	Kind     string    `json:"kind"`
	Received time.Time `json:"received"`
	From     string    `json:"from"`
	To       []string  `json:"to"`
	Subject  string    `json:"subject,omitempty"`
	Text     string    `json:"text"`
}

// box holds the messages and appends each to a file before it is acknowledged.
type box struct {
	now func() time.Time

	mu       sync.Mutex
	file     *os.File
	messages []Message
}

func openBox(path string, now func() time.Time) (*box, error) {
	messages, err := readBox(path)
	if err != nil {
		return nil, err
	}
	if len(messages) > MaxKept {
		messages = messages[len(messages)-MaxKept:]
		if err := rewrite(path, messages); err != nil {
			return nil, err
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("inbox: open: %w", err)
	}
	return &box{now: now, file: file, messages: messages}, nil
}

func readBox(path string) ([]Message, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: open: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	var messages []Message
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16*MaxMailBytes)
	for lines.Scan() {
		var m Message
		// A line cut short by a crash was never acknowledged; it is left out.
		if json.Unmarshal(lines.Bytes(), &m) == nil {
			messages = append(messages, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("inbox: read %s: %w", path, err)
	}
	return messages, nil
}

// rewrite drops what no longer counts, through a file beside it.
func rewrite(path string, messages []Message) error {
	var lines []byte
	for _, m := range messages {
		line, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("inbox: encode: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if err := os.WriteFile(path+".new", lines, 0o600); err != nil {
		return fmt.Errorf("inbox: compact: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("inbox: compact: %w", err)
	}
	return nil
}

func (b *box) add(m Message) (Message, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Message{}, fmt.Errorf("inbox: id: %w", err)
	}
	m.ID, m.Received = id.String(), b.now().UTC()
	line, err := json.Marshal(m)
	if err != nil {
		return Message{}, fmt.Errorf("inbox: encode: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// The newline in front ends a line that a crash cut short.
	if _, err := b.file.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'})); err != nil {
		return Message{}, fmt.Errorf("inbox: write: %w", err)
	}
	b.messages = append(b.messages, m)
	if len(b.messages) > MaxKept {
		b.messages = slices.Clone(b.messages[len(b.messages)-MaxKept:])
	}
	return m, nil
}

func (b *box) newestFirst() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	messages := slices.Clone(b.messages)
	slices.Reverse(messages)
	return messages
}

func (b *box) close() error { return b.file.Close() }
