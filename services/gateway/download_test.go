package main

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

type zipStream = grpc.ServerStreamingServer[httpbody.HttpBody]

// A zip arrives byte for byte; one that breaks off breaks the connection; an error before the first byte is an
// ordinary one. The token travels in the body alone, and the address is the gateway's to say.
func TestDX12_ExportsAreStreamedAsTheyAre(t *testing.T) {
	s := newSuite(t)
	want := make([]byte, 700_000)
	_, err := io.ReadFull(&pattern{n: int64(len(want))}, want)
	require.NoError(t, err)
	var asked *recordsv1.ExportByTokenRequest
	s.rights.export = func(r *recordsv1.ExportByTokenRequest, stream zipStream) error {
		asked = r
		for rest := want; len(rest) > 0; rest = rest[min(len(rest), 256<<10):] {
			if err := stream.Send(&httpbody.HttpBody{ContentType: "application/zip", Data: rest[:min(len(rest), 256<<10)]}); err != nil {
				return err
			}
		}
		return nil
	}
	const path, body = "/v1/patientAccess:export", `{"token":"abc","client":{"address":"203.0.113.66"}}`
	get := func(path, body string, headers ...string) (*http.Response, []byte, error) {
		response, err := s.client(true).Do(s.request(http.MethodPost, path, body, headers...))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		data, err := io.ReadAll(response.Body)
		return response, data, err
	}
	response, data, err := get(path, body, "Authorization", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", data)
	require.Equal(t, []string{"application/zip", "no-store"}, []string{response.Header.Get("Content-Type"), response.Header.Get("Cache-Control")})
	require.True(t, bytes.Equal(want, data))
	require.Equal(t, "abc", asked.GetToken())
	require.NotEqual(t, "203.0.113.66", asked.GetClient().GetAddress())
	require.NotEmpty(t, asked.GetClient().GetAddress())

	name := "patients/" + uuid.NewString() + "/rightsRequests/" + uuid.NewString()
	_, data, err = get("/v1/"+name+":exportChart", `{}`)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, data))
	require.Equal(t, name, asked.GetToken())

	response, data, err = get(path+"?token=abc", `{}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode, "%s", data)
	response, data, err = get(path, `{"tokken":"abc"}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode, "%s", data)

	refused := errs.New(errs.KindUnauthenticated, "TOKEN_INVALID", "no")
	s.rights.export = func(*recordsv1.ExportByTokenRequest, zipStream) error { return refused }
	response, data, err = get(path, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.Contains(t, string(data), "TOKEN_INVALID")

	s.rights.export = func(_ *recordsv1.ExportByTokenRequest, stream zipStream) error {
		if err := stream.Send(&httpbody.HttpBody{ContentType: "application/zip", Data: want[:1000]}); err != nil {
			return err
		}
		return refused
	}
	_, _, err = get(path, body)
	require.Error(t, err, "a part must not pass for the whole")
}
