package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An answer of the FHIR API comes as it is; one that breaks off, with or without a length, or is larger than any
// may be, breaks the connection: nobody takes a part for the whole.
func TestFHIRAnswersAreWholeOrBroken(t *testing.T) {
	const limit = 64 << 10
	s := newSuite(t, func(settings *Settings) { settings.Limits.ResponseBytes = limit })
	line := strings.Repeat("x", 1023) + "\n"
	for name, c := range map[string]struct {
		lines  int
		length bool // whether it says how long it is to be
		dies   bool
		whole  bool
	}{
		"whole":                        {lines: 4, whole: true},
		"whole, of the largest size":   {lines: limit / 1024, whole: true},
		"too large":                    {lines: limit/1024 + 1},
		"broken off, without length":   {lines: 4, dies: true},
		"broken off, below its length": {lines: 4, dies: true, length: true},
	} {
		t.Run(name, func(t *testing.T) {
			s.fhir = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/fhir+ndjson")
				if c.length {
					w.Header().Set("Content-Length", strconv.Itoa(1024*c.lines+1))
				}
				for range c.lines {
					_, _ = io.WriteString(w, line)
				}
				if c.dies {
					require.NoError(t, http.NewResponseController(w).Flush())
					panic(http.ErrAbortHandler)
				}
			}
			response, err := s.client(true).Do(s.request(http.MethodGet, "/fhir/R4/$export/0/Patient/0", ""))
			if err != nil {
				require.False(t, c.whole, err)
				return // it broke before the header was out
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			require.Equal(t, c.whole, err == nil, "%d %d bytes: %v", response.StatusCode, len(body), err)
			if c.whole {
				require.Equal(t, strings.Repeat(line, c.lines), string(body))
			}
		})
	}
}
