package api

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func TestMasks(t *testing.T) {
	t.Parallel()
	fields := map[string]bool{"display_name": true, "email": false}
	for _, c := range []struct {
		paths, want []string
	}{
		{nil, []string{"display_name"}},
		{[]string{"*"}, []string{"display_name", "email"}},
		{[]string{"email"}, []string{"email"}},
		{[]string{"email", "name", "etag"}, []string{"email"}},
		{[]string{"etag"}, nil},
	} {
		m, err := newMask(&fieldmaskpb.FieldMask{Paths: c.paths}, fields, "name", "etag")
		require.NoError(t, err)
		require.ElementsMatch(t, c.want, m.paths, c.paths)
	}
	_, err := newMask(&fieldmaskpb.FieldMask{Paths: []string{"password_hash"}}, fields, "name")
	require.Error(t, err)
	m, err := newMask(nil, fields)
	require.NoError(t, err)
	require.True(t, m.has("display_name"))
}

func FuzzNames(f *testing.F) {
	f.Add("users/01900000-0000-7000-8000-000000000001/staff/01900000-0000-7000-8000-000000000002")
	f.Add("users/01900000-0000-7000-8000-000000000001")
	f.Add("users//staff/")
	f.Fuzz(func(t *testing.T, name string) {
		if doctor, member, err := staffOf("name", name); err == nil && name != "users/"+doctor.String()+"/staff/"+member.String() {
			t.Fatalf("%q was read as something else", name)
		}
		if id, err := idOf("name", name, "users"); err == nil && name != "users/"+id.String() {
			t.Fatalf("%q was read as something else", name)
		}
	})
}

func FuzzPageToken(f *testing.F) {
	f.Add(pageToken(uuid.New()))
	f.Add("rubbish")
	f.Fuzz(func(t *testing.T, token string) {
		after, n, err := page(0, token)
		if err != nil {
			return
		}
		if n != usualPage || (token != "" && len(after) != 16) {
			t.Fatalf("%q gave %v, %d", token, after, n)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("a@example.org")
	f.Add("A <a@example.org>")
	f.Add("a@example.org\r\nBcc: b@example.org")
	f.Fuzz(func(t *testing.T, text string) {
		if address("email", text) != nil {
			return
		}
		for _, r := range text {
			if r == '\r' || r == '\n' || r == ',' && text[0] != '"' {
				t.Fatalf("%q passed as one address", text)
			}
		}
	})
}
