package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"
)

// Stream sends body and calls each for every message of the streamed answer. What
// is not there after it must be missed by the caller: an answer has no last line.
func Stream[M any, P interface {
	*M
	proto.Message
}](ctx context.Context, c *Client, path string, body proto.Message, each func(P) error) error {
	return c.patiently(ctx, func() error {
		answer, err := c.send(ctx, http.MethodPost, path, body)
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // only read from
		return lines(answer, func(line json.RawMessage) error {
			var envelope struct{ Result json.RawMessage }
			if err := json.Unmarshal(line, &envelope); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			m := P(new(M))
			if err := decode(envelope.Result, m); err != nil {
				return err
			}
			return each(m)
		})
	})
}

// Upload sends what open returns, as it is read, and calls each for every message
// of the answer, while content is still being sent. After a rate limit open is
// called again; where the content is there only once, it says so.
func Upload[M any, P interface {
	*M
	proto.Message
}](ctx context.Context, c *Client, path, kind string, open func() (io.ReadCloser, error), each func(P) error) error {
	return c.patiently(ctx, func() error {
		content, err := open()
		if err != nil {
			return err
		}
		answer, err := c.do(ctx, http.MethodPost, path, kind, content) // which closes the content
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // only read from
		return lines(answer, func(line json.RawMessage) error {
			m := P(new(M))
			if err := decode(line, m); err != nil {
				return err
			}
			return each(m)
		})
	})
}

// lines reads one JSON object after the other; {"error": …} is the last one.
func lines(r io.Reader, each func(json.RawMessage) error) error {
	decoder := json.NewDecoder(r)
	for {
		var line json.RawMessage
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
		var envelope struct{ Error json.RawMessage }
		if err := json.Unmarshal(line, &envelope); err != nil {
			return fmt.Errorf("the answer cannot be read: %w", err)
		}
		if envelope.Error != nil {
			return refusalOf(0, envelope.Error)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}
