package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/ctl/internal/legacy/legacytest"
)

// old is what an older system left: three blobs and the keys.
func old(t *testing.T) (lines []string, flags []string) {
	t.Helper()
	for i, mode := range []string{"AES-256-CBC", "AES-256-CTR", "AES-256-CBC"} {
		lines = append(lines, legacytest.New(mode, uint64(i), fmt.Appendf(nil, `{"resourceType":"Patient","id":"canary-%d"}`, i)).Line())
	}
	return lines, []string{
		"--encryption-key-file", private(t, legacytest.Encryption), "--mac-key-file", private(t, legacytest.MAC),
	}
}

func private(t *testing.T, key []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, key, 0o600))
	return file
}

func TestDTD21_LegacyBlobsAreSentAsOneBundle(t *testing.T) {
	g := signedIn(t)
	var query string
	var calls, refused atomic.Int32
	g.on(t, "POST /v1/patients:import", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			_, _ = io.CopyN(io.Discard, r.Body, 3)
			fail(w, http.StatusTooManyRequests, errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Millisecond))
			return
		}
		query = r.URL.RawQuery
		var bundle struct {
			ResourceType string
			Entry        []struct{ Resource struct{ ID string } }
		}
		noError(t, json.NewDecoder(r.Body).Decode(&bundle))
		if len(bundle.Entry) != 3 || bundle.Entry[2].Resource.ID != "canary-2" {
			t.Errorf("%+v was sent", bundle)
		}
		switch {
		case refused.Load() == 1:
			line(w, problem(1, "ENTRY_MALFORMED", "name is missing"))
			line(w, resultOf(2, 1))
		case refused.Load() == 2:
			line(w, resultOf(2, 0))
		default:
			line(w, resultOf(3, 0))
		}
	})
	lines, flags := old(t)
	file := write(t, "old.jsonl", []byte(strings.Join(lines, "")))
	args := append([]string{"keys", "import-legacy", file, "--doctor", someID}, flags...)
	got := g.run(t, "", args...).secretless(t)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, file+": 3 blobs are authentic\n")
	require.Contains(t, got.err, file+": 3 created, 0 updated, 0 unchanged, 0 refused\n")
	require.Equal(t, "doctor=users%2F"+someID, query)

	refused.Store(1)
	got = g.run(t, "", args...)
	require.Equal(t, failed, got.code)
	require.Equal(t, file+": line 2: ENTRY_MALFORMED: name is missing\n", got.out)
	require.Contains(t, got.err, "1 blobs were refused and are not migrated")
	refused.Store(2)
	got = g.run(t, "", args...)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "3 blobs were verified, but 2 are stored")
}

func TestDTD21_NothingIsSentUnlessEveryMACIsValid(t *testing.T) {
	g := signedIn(t)
	g.on(t, "POST /v1/patients:import", func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	lines, flags := old(t)
	unsigned := strings.Replace(lines[2], `"mac"`, `"mad"`, 1)
	changed := strings.Replace(lines[1], `"ciphertext":"`, `"ciphertext":"AAAA`, 1)
	file := write(t, "old.jsonl", []byte(lines[0]+changed+unsigned))
	got := g.run(t, "", append([]string{"keys", "import-legacy", file}, flags...)...)
	require.Equal(t, failed, got.code)
	require.Regexp(t, `^\S+old\.jsonl: line 2 does not fit its MAC: .*\n\S+old\.jsonl: line 3 is no blob: .*\n$`, got.out)
	require.Contains(t, got.err, "2 of 3 blobs are refused; nothing was sent")
	require.NotContains(t, got.out+got.err, "canary")

	for want, args := range map[string][]string{
		"no blob in it; nothing was sent": append([]string{write(t, "none", nil)}, flags...),
		"no such file or directory":       append([]string{"no-such-file"}, flags...),
		"are the same":                    {file, flags[0], flags[1], flags[2], flags[1]},
		"--doctor":                        append([]string{file, "--doctor", "dr.smith"}, flags...),
	} {
		got := g.run(t, "", append([]string{"keys", "import-legacy"}, args...)...)
		require.Equal(t, failed, got.code, want)
		require.Contains(t, got.err, want)
	}
	got = g.run(t, "", "keys", "import-legacy", file)
	require.Equal(t, misused, got.code)
	require.Contains(t, got.err, "missing flags: --encryption-key-file=FILE, --mac-key-file=FILE")
}

// The file is changed between the two passes: what is changed is not decrypted, and
// the request breaks off.
func TestDTD21_AFileThatChangesIsNotSent(t *testing.T) {
	g := signedIn(t)
	lines, flags := old(t)
	file := write(t, "old.jsonl", []byte(strings.Join(lines, "")))
	var calls atomic.Int32
	g.on(t, "POST /v1/patients:import", func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			bad := strings.Replace(lines[2], `"ciphertext":"`, `"ciphertext":"AAAA`, 1)
			// Renamed over it: what the first request still reads stays what it was.
			noError(t, os.WriteFile(file+".new", []byte(lines[0]+lines[1]+bad), 0o600))
			noError(t, os.Rename(file+".new", file))
			fail(w, http.StatusTooManyRequests, errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(time.Millisecond))
			return
		}
		raw, err := io.ReadAll(r.Body)
		if err == nil || json.Valid(raw) || strings.Contains(string(raw), "canary-2") {
			t.Errorf("%q was sent: %v", raw, err)
		}
		line(w, resultOf(3, 0))
	})
	got := g.run(t, "", append([]string{"keys", "import-legacy", file}, flags...)...)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "line 3 does not fit its MAC")
	require.Positive(t, calls.Load(), "the second request may end before it gets there")
}
