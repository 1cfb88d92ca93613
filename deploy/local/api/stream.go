package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// Imported is what came of an import.
type Imported struct {
	Total    *recordsv1.ImportProgress
	Problems []*recordsv1.ImportProblem
}

// Import sends a FHIR bundle for a doctor ("users/{uuid}", empty for the caller).
// The bundle is streamed, and so are the answers; progress, where it is not nil,
// is told of each commit. A rate limit is waited out where the bundle can be read
// again, as files can.
func (c *Client) Import(ctx context.Context, bundle io.Reader, doctor string, progress func(*recordsv1.ImportProgress)) (*Imported, error) {
	for {
		done, err := c.importOnce(ctx, bundle, doctor, progress)
		again, seekable := bundle.(io.Seeker)
		if refusal := (*Refusal)(nil); !seekable || !errors.As(err, &refusal) || !refusal.wait(ctx) {
			return done, err
		}
		if _, err := again.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
	}
}

func (c *Client) importOnce(ctx context.Context, bundle io.Reader, doctor string, progress func(*recordsv1.ImportProgress)) (*Imported, error) {
	path := "/v1/patients:import"
	if doctor != "" {
		path += "?" + url.Values{"doctor": {doctor}}.Encode()
	}
	// Whoever opened the bundle closes it, not the transport.
	response, err := c.do(ctx, http.MethodPost, path, "application/fhir+json", io.NopCloser(bundle))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	if err := refused(response, path); err != nil {
		return nil, err
	}
	var done Imported
	err = lines(response.Body, func(line json.RawMessage) error {
		var m recordsv1.ImportBundleResponse
		if err := protojson.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("import: read the answer: %w", err)
		}
		switch item := m.GetItem().(type) {
		case *recordsv1.ImportBundleResponse_Progress:
			if progress != nil {
				progress(item.Progress)
			}
		case *recordsv1.ImportBundleResponse_Problem:
			done.Problems = append(done.Problems, item.Problem)
		case *recordsv1.ImportBundleResponse_Result:
			done.Total = item.Result
		}
		return nil
	})
	if err == nil && done.Total == nil {
		err = errors.New("import: the answer broke off before the totals")
	}
	return &done, err
}

// Stream sends body and calls each for every message of the streamed answer.
func Stream[M proto.Message](ctx context.Context, c *Client, path string, body proto.Message, fresh func() M, each func(M) error) error {
	response, err := c.stream(ctx, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	if err := refused(response, path); err != nil {
		return err
	}
	return lines(response.Body, func(line json.RawMessage) error {
		var envelope struct{ Result json.RawMessage }
		if err := json.Unmarshal(line, &envelope); err != nil {
			return fmt.Errorf("POST %s: read the answer: %w", path, err)
		}
		m := fresh()
		if err := protojson.Unmarshal(envelope.Result, m); err != nil {
			return fmt.Errorf("POST %s: read the answer: %w", path, err)
		}
		return each(m)
	})
}

func (c *Client) stream(ctx context.Context, path string, body proto.Message) (*http.Response, error) {
	raw, err := protojson.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	return c.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(raw))
}

// refused reads the answer where it is no success, as an error.
func refused(response *http.Response, path string) error {
	if response.StatusCode/100 == 2 {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	return (&Answer{Status: response.StatusCode, Body: raw}).refusal(http.MethodPost, path)
}
