package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// watchUpload makes records report that the first piece is there, and how the stream ended: with nil where it
// ended in order.
func (s *suite) watchUpload() (begun <-chan struct{}, ended <-chan error) {
	first, last := make(chan struct{}), make(chan error, 1)
	s.documents.upload = func(stream uploadStream) error {
		for pieces := 0; ; {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				last <- nil
				return stream.SendAndClose(&recordsv1.Document{})
			}
			if err != nil {
				last <- err
				return err
			}
			if m.GetChunk() != nil {
				if pieces++; pieces == 1 {
					close(first)
				}
			}
		}
	}
	return first, last
}

// raw opens an HTTP/1.1 connection and sends the text as it is.
func (s *suite) raw(t *testing.T, text string) *tls.Conn {
	t.Helper()
	config := s.tlsConfig()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", s.addr, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return conn
}

// uploadHead is an upload up to the headers that say how long it is.
func uploadHead(more string) string {
	return "POST /v1/" + somePatient + "/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pdf\r\n" +
		"Content-Disposition: attachment; filename=scan.pdf\r\nAuthorization: Bearer " + sessionToken + "\r\n" + more
}

// handled waits until no goroutine of the gateway is left in the function of a package.
func handled(t *testing.T, function string) {
	t.Helper()
	require.Eventually(t, func() bool {
		stacks := make([]byte, 8<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), function)
	}, 20*time.Second, 10*time.Millisecond, "a goroutine is still in %s", function)
}

// An upload that is cut short in whatever way never looks complete to records, which hears of it at once.
func TestUploadsThatBreakOffAreNoUploads(t *testing.T) {
	half := strings.Repeat("x", 300<<10)
	heads := map[string]string{
		"length": "Content-Length: 1000000\r\n\r\n" + half,
		"almost": fmt.Sprintf("Content-Length: %d\r\n\r\n", len(half)+1) + half,
		"chunks": "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", len(half)) + half + "\r\n",
	}
	for way, leave := range map[string]func(*tls.Conn) error{
		"ends": (*tls.Conn).CloseWrite,
		"goes": (*tls.Conn).Close,
		"reset": func(c *tls.Conn) error {
			return errors.Join(c.NetConn().(*net.TCPConn).SetLinger(0), c.NetConn().Close())
		},
	} {
		for name, head := range heads {
			t.Run(way+" "+name, func(t *testing.T) {
				s := newSuite(t)
				begun, ended := s.watchUpload()
				conn := s.raw(t, uploadHead(head))
				<-begun
				require.NoError(t, leave(conn))
				require.Error(t, within(t, ended), "the stream must break off, not end")
				if way == "ends" {
					got, err := io.ReadAll(conn)
					require.NoError(t, err)
					require.Contains(t, string(got), "BODY_BROKEN_OFF")
				}
				handled(t, "rest.(*documents)")
			})
		}
	}
	for _, http2 := range []bool{true, false} {
		s := newSuite(t)
		begun, ended := s.watchUpload()
		ctx, cancel := context.WithCancel(t.Context())
		gone, body := make(chan error, 1), stallAfter(300<<10)
		go func() {
			_, err := s.client(http2).Do(s.uploadRequest(body).WithContext(ctx)) //nolint:bodyclose // none comes
			gone <- err
		}()
		<-begun
		cancel()
		require.Error(t, within(t, ended), "http2=%v", http2)
		// Over HTTP/1 Do returns no sooner than the body's Read, canceled or not.
		require.NoError(t, body.Close())
		require.Error(t, within(t, gone))
		handled(t, "rest.(*documents)")
	}
}

func (s *suite) uploadRequest(body io.Reader) *http.Request {
	r := s.request(http.MethodPost, "/v1/"+somePatient+"/documents", "", "Content-Type", "application/pdf", "Content-Disposition", "attachment; filename=scan.pdf")
	r.Body, r.ContentLength = io.NopCloser(body), -1
	if closer, ok := body.(io.ReadCloser); ok {
		r.Body = closer
	}
	return r
}

// A client that stops sending is told so, and records is released.
func TestUploadsThatStallAreBrokenOff(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		s := newSuite(t, func(c *Settings) { c.Limits.StallSeconds = 1 })
		_, ended := s.watchUpload()
		got := s.do(s.client(http2), s.uploadRequest(stallAfter(300<<10)))
		require.Equal(t, http.StatusRequestTimeout, got.status, "http2=%v", http2)
		require.Equal(t, "BODY_STALLED", got.reason(t))
		require.Error(t, within(t, ended))
		handled(t, "rest.(*documents)")
	}
}

// What records refuses is told at once, also to a client that waits with the rest of its body.
func TestRefusedUploadsDoNotWaitForTheirBody(t *testing.T) {
	s := newSuite(t) // a stalled body has a minute
	s.documents.upload = func(uploadStream) error { return errs.New(errs.KindTooLarge, "DOCUMENT_TOO_LARGE", "no") }
	for _, http2 := range []bool{true, false} {
		for _, sent := range []int64{0, 1000, 300 << 10} {
			got := s.do(s.client(http2), s.uploadRequest(stallAfter(sent)))
			require.Equal(t, "DOCUMENT_TOO_LARGE", got.reason(t), "http2=%v", http2)
		}
	}
	conn := s.raw(t, uploadHead("Content-Length: 1000\r\n\r\nhalf"))
	// An answer of its own length: a client that waits for the end of the connection waits for the rest of its body.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	got, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Contains(t, string(got), "DOCUMENT_TOO_LARGE")
	require.NoError(t, answer.Body.Close())
}

// Nobody, signed in or not, holds a connection with a body that is announced and never sent: net/http would
// wait for it without an end before it answers.
func TestUnsentBodiesHoldNoConnection(t *testing.T) {
	s := newSuite(t, func(c *Settings) { c.Limits.BodySeconds = 1 })
	for name, c := range map[string]struct{ head, want string }{
		"no session":    {"POST /v1/patients:search", " 401 "},
		"no route":      {"POST /v2/nothing", " 404 "},
		"a page":        {"GET /healthz", " 200 "},
		"a bad upload":  {"POST /v1/" + somePatient + "/documents", " 401 "},
		"an import":     {"POST /v1/patients:import", " 401 "},
		"a FHIR search": {"POST /fhir/R4/Patient/_search", " 401 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.raw(t, c.head+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
			got, err := io.ReadAll(conn)
			require.NoError(t, err, "the connection is still open; %s", got)
			require.Contains(t, string(got), c.want)
		})
	}
}

// A download ends at records when its client goes away, and when it takes nothing.
func TestDownloadsEndWithTheirClient(t *testing.T) {
	path := "/v1/patients/" + uuid.NewString() + "/documents/" + uuid.NewString() + "/content"
	for _, http2 := range []bool{true, false} {
		for _, goes := range []bool{true, false} {
			s := newSuite(t, func(c *Settings) { c.Limits.StallSeconds, c.Limits.WriteSeconds = 1, 1 })
			ended := make(chan error, 1)
			s.documents.download = func(_ *recordsv1.DownloadDocumentRequest, stream downloadStream) error {
				err := stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Document{
					Document: &recordsv1.Document{MediaType: "application/pdf", FileName: "scan.pdf", SizeBytes: 1 << 40},
				}})
				for piece := make([]byte, 256<<10); err == nil; {
					err = stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Chunk{Chunk: piece}})
				}
				ended <- err
				return err
			}
			response, err := s.client(http2).Do(s.request(http.MethodGet, path, ""))
			require.NoError(t, err)
			if goes {
				_, err = io.CopyN(io.Discard, response.Body, 1<<20)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
			}
			require.Error(t, within(t, ended), "http2=%v goes=%v", http2, goes)
			handled(t, "rest.(*documents)")
			_ = response.Body.Close()
		}
	}
}
