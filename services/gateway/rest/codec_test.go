package rest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// Whatever bytes come: a message, or an error that says where and repeats nothing.
func FuzzDMD09_JSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"phone":"555-1234"}`, `{"name":{"familyName":"\u0000"}}`, "{\"phone\":\"\xff\"}", `[]`, `{"a":`, `null`,
		`{"pageSize":1e999}`, `{"unknownFieldName":1}`, `{"fromTime":"yesterdayAtNoon"}`, `{"action":"ACTION_SOMETHING_ELSE"}`,
		`{"phone":"1","phone":"2"}`, `{"identifier":{},"phone":"aaaaaaaaaaaaaaaa"}`, strings.Repeat("[", 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, m := range []proto.Message{&recordsv1.SearchPatientsRequest{}, &auditv1.ListEntriesRequest{}} {
			err := codec{}.Unmarshal(body, m)
			if err == nil {
				back, err := codec{}.Marshal(m)
				require.NoError(t, err)
				require.False(t, bytes.ContainsAny(back, "<>&"))
				again := m.ProtoReflect().New().Interface()
				require.NoError(t, codec{}.Unmarshal(back, again))
				require.True(t, proto.Equal(m, again))
				continue
			}
			var refused bodyError
			require.True(t, errors.As(err, &refused), "%v", err)
			requireNoEcho(t, body, err.Error())
		}
	})
}

// requireNoEcho looks for runs of the body in the message. Names of fields that exist may stand there.
func requireNoEcho(t *testing.T, body []byte, message string) {
	t.Helper()
	const run = 10
	own := strings.NewReplacer("familyName", "", "givenName", "", "birthDate", "", "/openapi.json", "",
		"identifier", "", "pageToken", "", "patientId", "", "request body", "").Replace(message)
	for _, known := range []string{
		"it is cut short or holds an invalid character", "unknown field; the fields of each request are listed at ",
		"a field stands twice", "fields of which only one may be set are set together", "not valid JSON here",
		"a value has the wrong type or format", "has the wrong type or format", "the value of field",
	} {
		own = strings.ReplaceAll(own, known, "")
	}
	for i := 0; i+run <= len(own); i++ {
		require.False(t, bytes.Contains(body, []byte(own[i:i+run])), "%q repeats %q", message, own[i:i+run])
	}
}
