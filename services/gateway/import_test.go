package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

type importStream = recordsv1.RecordsService_ImportBundleServer

func progress(created int64) *recordsv1.ImportBundleResponse {
	return &recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Progress{Progress: &recordsv1.ImportProgress{Created: created}}}
}

func result(created int64) *recordsv1.ImportBundleResponse {
	return &recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Result{Result: &recordsv1.ImportProgress{Created: created}}}
}

// receive reads chunks until the client is done, calling each for every one.
func receive(stream importStream, each func([]byte) error) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.GetOptions() != nil {
			continue
		}
		if err := each(m.GetChunk()); err != nil {
			return err
		}
	}
}

// pattern makes n bytes that are different everywhere and cost no memory.
type pattern struct{ at, n int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.n-p.at)]
	for i := range b {
		b[i] = byte((p.at + int64(i)) % 251)
	}
	p.at += int64(len(b))
	return len(b), nil
}

func (s *suite) importRequest(body io.Reader, query string, headers ...string) *http.Request {
	r := s.request("POST", "/v1/patients:import"+query, "", append([]string{"Content-Type", "application/fhir+json"}, headers...)...)
	r.Body, r.ContentLength = io.NopCloser(body), -1
	if closer, ok := body.(io.ReadCloser); ok {
		r.Body = closer
	}
	return r
}

// stalled is a body that begins and then waits until it is closed.
type stalled struct {
	io.Reader
	io.Closer
}

func stallAfter(n int64) stalled {
	reader, _ := io.Pipe()
	return stalled{io.MultiReader(&pattern{n: n}, reader), reader}
}

func TestImportStreamsAndAnswersLines(t *testing.T) {
	s := newSuite(t)
	bundle := `{"resourceType":"Bundle","entry":[` + strings.Repeat(" ", 700<<10) + `]}`
	var options *recordsv1.ImportOptions
	var got bytes.Buffer
	s.records.load = func(stream importStream) error {
		first, err := stream.Recv()
		if err != nil {
			return err
		}
		options = first.GetOptions()
		got.Reset()
		if err := receive(stream, func(chunk []byte) error {
			got.Write(chunk)
			return stream.Send(progress(int64(got.Len())))
		}); err != nil {
			return err
		}
		return errors.Join(
			stream.Send(&recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Problem{
				Problem: &recordsv1.ImportProblem{Reason: "ENTRY_MALFORMED", Message: "no <resource>"}}}),
			stream.Send(result(7)))
	}
	doctor, patient := "users/"+uuid.NewString(), somePatient
	for _, http2 := range []bool{true, false} {
		answer := s.do(s.client(http2), s.importRequest(strings.NewReader(bundle), "?doctor="+doctor+"&patient="+patient))
		require.Equal(t, http.StatusOK, answer.status, "%s", answer.body)
		require.Equal(t, "application/x-ndjson", answer.header.Get("Content-Type"))
		requireSecure(t, "import", answer.header)
		require.Equal(t, bundle, got.String())
		require.Equal(t, doctor, options.GetDoctor())
		require.Equal(t, patient, options.GetPatient())
		lines := strings.Split(strings.TrimSuffix(string(answer.body), "\n"), "\n")
		require.GreaterOrEqual(t, len(lines), 5)
		require.JSONEq(t, `{"progress":{"created":"262144","updated":"0","unchanged":"0","refused":"0"}}`, lines[0])
		require.JSONEq(t, `{"problem":{"index":"0","reason":"ENTRY_MALFORMED","message":"no <resource>"}}`, lines[len(lines)-2])
		require.JSONEq(t, `{"result":{"created":"7","updated":"0","unchanged":"0","refused":"0"}}`, lines[len(lines)-1])
		require.Len(t, s.auth.admitted(), 1)
	}
}

// Answers come while the body is still being sent: a line must be readable before
// the next piece exists.
func TestImportIsFullDuplex(t *testing.T) {
	s := newSuite(t)
	s.records.load = func(stream importStream) error {
		n := int64(0)
		if err := receive(stream, func([]byte) error { n++; return stream.Send(progress(n)) }); err != nil {
			return err
		}
		return stream.Send(result(n))
	}
	for _, http2 := range []bool{true, false} {
		reader, writer := io.Pipe()
		type reply struct {
			response *http.Response
			err      error
		}
		replies := make(chan reply, 1)
		client, request := s.client(http2), s.importRequest(reader, "")
		go func() {
			response, err := client.Do(request) //nolint:bodyclose // closed below
			replies <- reply{response, err}
		}()
		_, err := io.Copy(writer, &pattern{n: 256 << 10})
		require.NoError(t, err)
		r := <-replies
		require.NoError(t, r.err)
		lines := bufio.NewScanner(r.response.Body)
		for i := range 3 {
			require.True(t, lines.Scan(), "http2=%v", http2)
			require.Contains(t, lines.Text(), fmt.Sprintf(`"created":"%d"`, i+1))
			if i < 2 {
				_, err = io.Copy(writer, &pattern{n: 256 << 10})
				require.NoError(t, err)
			}
		}
		require.NoError(t, writer.Close())
		require.True(t, lines.Scan())
		require.Contains(t, lines.Text(), `"result"`)
		require.NoError(t, r.response.Body.Close())
	}
}

// 50 MiB pass through while the heap stays within a few: nothing holds the bundle.
func TestImportHoldsConstantMemory(t *testing.T) {
	s := newSuite(t)
	const size = 50 << 20
	var received, peak atomic.Int64
	s.records.load = func(stream importStream) error {
		received.Store(0)
		want := byte(0)
		if err := receive(stream, func(chunk []byte) error {
			if len(chunk) > 1<<20 || chunk[0] != want {
				return errs.New(errs.KindInvalid, "CHUNK", "too long or out of order")
			}
			want = byte((received.Add(int64(len(chunk)))) % 251)
			if received.Load()%(8<<20) < int64(len(chunk)) {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), int64(m.HeapAlloc)))
			}
			return nil
		}); err != nil {
			return err
		}
		return stream.Send(result(1))
	}
	for _, http2 := range []bool{true, false} {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		peak.Store(0)
		got := s.do(s.client(http2), s.importRequest(&pattern{n: size}, ""))
		require.Equal(t, http.StatusOK, got.status, "%s", got.body)
		require.Contains(t, string(got.body), `"result"`)
		require.EqualValues(t, size, received.Load())
		grown := peak.Load() - int64(before.HeapAlloc)
		// Client, gateway and service run in this process: their flow-control windows count too.
		require.Less(t, grown, int64(12<<20), "http2=%v: heap grew by %d KiB", http2, grown>>10)
	}
}

func TestImportErrors(t *testing.T) {
	s := newSuite(t)
	refuse := errs.New(errs.KindInvalid, "BUNDLE_MALFORMED", "not a Bundle")
	t.Run("before the first line", func(t *testing.T) {
		s.records.load = func(stream importStream) error { return refuse }
		for _, http2 := range []bool{true, false} {
			got := s.do(s.client(http2), s.importRequest(strings.NewReader(`{"resourceType":"Patient"}`), ""))
			require.Equal(t, http.StatusBadRequest, got.status)
			require.Equal(t, "BUNDLE_MALFORMED", got.reason(t))
		}
	})
	t.Run("after a line, while the client still sends", func(t *testing.T) {
		s.records.load = func(stream importStream) error {
			if _, err := stream.Recv(); err != nil {
				return err
			}
			return errors.Join(stream.Send(progress(1)), refuse)
		}
		for _, http2 := range []bool{true, false} {
			got := s.do(s.client(http2), s.importRequest(stallAfter(100), ""))
			require.Equal(t, http.StatusOK, got.status)
			lines := strings.Split(strings.TrimSpace(string(got.body)), "\n")
			require.Len(t, lines, 2)
			var last struct{ Error json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(lines[1]), &last))
			require.Equal(t, "BUNDLE_MALFORMED", answer{body: last.Error}.reason(t))
		}
	})
	t.Run("not admitted", func(t *testing.T) {
		s.auth.fail(errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Second))
		defer s.auth.fail(nil)
		got := s.do(s.client(true), s.importRequest(strings.NewReader("{}"), ""))
		require.Equal(t, http.StatusTooManyRequests, got.status)
		require.Equal(t, "1", got.header.Get("Retry-After"))
	})
	t.Run("type and parameters", func(t *testing.T) {
		s.auth.admitted()
		got := s.do(s.client(true), s.importRequest(strings.NewReader("{}"), "", "Content-Type", "application/xml"))
		require.Equal(t, http.StatusUnsupportedMediaType, got.status)
		got = s.do(s.client(true), s.importRequest(strings.NewReader("{}"), "?doctr=x"))
		require.Equal(t, "PARAMETER_UNKNOWN", got.reason(t))
		require.Empty(t, s.auth.admitted())
	})
}

// watch makes the import handler report how its stream ended.
func (s *suite) watchImport() <-chan error {
	ended := make(chan error, 1)
	s.records.load = func(stream importStream) error {
		err := receive(stream, func([]byte) error { return stream.Send(progress(1)) })
		ended <- err
		return err
	}
	return ended
}

// A body that breaks while its client is still there is told so, and is no end either.
func TestImportOfABrokenBody(t *testing.T) {
	s := newSuite(t)
	ended := s.watchImport()
	config := s.tlsConfig()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", s.addr, config)
	require.NoError(t, err)
	defer ignore(conn.Close)
	_, err = io.WriteString(conn, "POST /v1/patients:import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer "+sessionToken+"\r\nTransfer-Encoding: chunked\r\n\r\n"+
		fmt.Sprintf("%x\r\n", 300<<10)+strings.Repeat("x", 300<<10)+"\r\nthis is no chunk\r\n")
	require.NoError(t, err)
	require.Error(t, within(t, ended))
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(got), "BODY_BROKEN_OFF")
}

// A body that is cut short must not look complete to records.
func TestImportCutShortIsNotAnEnd(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"length": "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 300<<10),
		"chunks": "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", 300<<10) + strings.Repeat("x", 300<<10) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			ended := s.watchImport()
			config := s.tlsConfig()
			config.NextProtos = []string{"http/1.1"}
			conn, err := tls.Dial("tcp", s.addr, config)
			require.NoError(t, err)
			defer ignore(conn.Close)
			_, err = io.WriteString(conn, "POST /v1/patients:import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
				"Authorization: Bearer "+sessionToken+"\r\n"+head)
			require.NoError(t, err)
			// The first line proves that the import is under way.
			line, err := bufio.NewReader(conn).ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, "200")
			require.NoError(t, conn.CloseWrite())
			require.Error(t, within(t, ended), "the stream must break off, not end")
		})
	}
}

func within(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happened")
		return nil
	}
}

// A client that stops sending is told so, and records is released.
func TestImportThatStallsIsBrokenOff(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{true, false} {
		s := newSuite(t, func(c *Settings) { c.Limits.StallSeconds = 1 })
		ended := s.watchImport()
		got := s.do(s.client(http2), s.importRequest(stallAfter(300<<10), ""))
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, string(got.body), `"error"`, "http2=%v", http2)
		require.Contains(t, string(got.body), "BODY_STALLED", "http2=%v", http2)
		require.Error(t, within(t, ended))
	}
}

// Records may think longer than a client may stall.
func TestImportWaitsForRecords(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{true, false} {
		s := newSuite(t, func(c *Settings) { c.Limits.StallSeconds, c.Limits.WriteSeconds = 1, 1 })
		s.records.load = func(stream importStream) error {
			thinking := time.After(1500 * time.Millisecond)
			if _, err := stream.Recv(); err != nil {
				return err
			}
			if err := stream.Send(progress(0)); err != nil {
				return err
			}
			<-thinking
			n := int64(0)
			if err := receive(stream, func(c []byte) error { n += int64(len(c)); return nil }); err != nil {
				return err
			}
			again := time.After(1500 * time.Millisecond)
			<-again
			return stream.Send(result(n))
		}
		got := s.do(s.client(http2), s.importRequest(&pattern{n: 8 << 20}, ""))
		require.Contains(t, string(got.body), fmt.Sprintf(`{"result":{"created":"%d"`, 8<<20), "http2=%v: %s", http2, got.body)
	}
}

// A client that goes away ends the import at records.
func TestImportEndsWithItsClient(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		s := newSuite(t)
		ended := s.watchImport()
		ctx, cancel := context.WithCancel(t.Context())
		response, err := s.client(http2).Do(s.importRequest(stallAfter(300<<10), "").WithContext(ctx))
		require.NoError(t, err)
		cancel()
		_ = response.Body.Close()
		require.Error(t, within(t, ended))
	}
}

func TestSlowJSONBodyIsCutOff(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(c *Settings) { c.Limits.BodySeconds = 1 })
	reader, writer := io.Pipe()
	defer ignore(writer.Close)
	r := s.request("POST", "/v1/patients:search", "", "Content-Type", "application/json")
	r.Body, r.ContentLength = reader, -1
	got := s.do(s.client(true), r)
	require.Equal(t, http.StatusRequestTimeout, got.status)
	require.Equal(t, "BODY_STALLED", got.reason(t))
	require.Empty(t, s.auth.admitted())

	// A client that never finishes its headers is cut off too.
	s = newSuite(t, func(c *Settings) { c.Limits.HeaderSeconds = 1 })
	config := s.tlsConfig()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", s.addr, config)
	require.NoError(t, err)
	defer ignore(conn.Close)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadAll(conn)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection is still open")
}

// A handler may take longer than a body may: the deadline of the one must not cancel the other.
func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{true, false} {
		s := newSuite(t, func(c *Settings) { c.Limits.BodySeconds, c.Limits.WriteSeconds = 1, 1 })
		s.records.update = func(*recordsv1.UpdatePatientRequest) { <-time.After(1500 * time.Millisecond) }
		got := s.do(s.client(http2), s.request("PATCH", "/v1/"+somePatient, `{"familyName":"Roe"}`))
		require.Equal(t, http.StatusOK, got.status, "http2=%v: %s", http2, got.body)
	}
}
