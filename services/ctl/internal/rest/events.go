package rest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxEvent bounds one server-sent event.
const maxEvent = 1 << 20

// Event is one server-sent event.
type Event struct {
	// Name is "message" where the server gave none; ID is where to go on.
	Name, ID string
	Data     []byte
}

// Events reads server-sent events until the stream ends. Events without data, which only
// move the id on, are passed on as well.
func Events(ctx context.Context, c *Client, path string, each func(Event) error) error {
	return c.patiently(ctx, func() error {
		answer, err := c.do(ctx, http.MethodGet, path, "", nil)
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // only read from
		return events(answer, each)
	})
}

// events reads the lines of the format (WHATWG HTML, 9.2.6).
func events(r io.Reader, each func(Event) error) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 1<<16), maxEvent)
	var data []string
	e := Event{Name: "message"}
	for scan.Scan() {
		field, value, _ := strings.Cut(scan.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case scan.Text() == "":
			e.Data = []byte(strings.Join(data, "\n"))
			if err := each(e); err != nil {
				return err
			}
			e.Name, data = "message", nil
		case field == "event":
			e.Name = value
		case field == "id":
			e.ID = value
		case field == "data":
			data = append(data, value)
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	return nil
}

// RefusalOf reads the data of an event that says why the stream ended.
func RefusalOf(data []byte) error { return refusalOf(0, data) }
