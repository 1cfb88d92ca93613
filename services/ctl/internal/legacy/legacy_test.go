package legacy_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/ctl/internal/legacy"
	"github.com/carekeep/carekeep/services/ctl/internal/legacy/legacytest"
)

const patient = `{"resourceType":"Patient","id":"01234567-89ab-7def-8123-456789abcdef","name":[{"family":"Canary"}]}`

func keys(tb testing.TB) *legacy.Keys {
	tb.Helper()
	k, err := legacy.NewKeys(legacytest.Encryption, legacytest.MAC)
	require.NoError(tb, err)
	return k
}

// opened is what the first line holds, or why it is refused.
func opened(tb testing.TB, k *legacy.Keys, text string) (resource string, refused error) {
	tb.Helper()
	err := k.Read(strings.NewReader(text), func(_ int, plain []byte, err error) error {
		resource, refused = string(plain), err
		return nil
	})
	require.NoError(tb, err)
	return resource, refused
}

// A vector made with OpenSSL, so that maker and reader are not wrong together.
func TestDTD21_BlobsOfOpenSSLOpen(t *testing.T) {
	t.Parallel()
	encryption, err := hex.DecodeString(strings.Repeat("e1", 32))
	require.NoError(t, err)
	mac, err := hex.DecodeString(strings.Repeat("3a", 32))
	require.NoError(t, err)
	k, err := legacy.NewKeys(encryption, mac)
	require.NoError(t, err)
	for _, name := range []string{"cbc", "ctr"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
		require.NoError(t, err)
		got, err := opened(t, k, string(raw))
		require.NoError(t, err, name)
		require.JSONEq(t, `{"resourceType":"Patient","id":"0b0e7f6e-3a0a-4d35-9d6c-5d1f3a1c2b4d"}`, got)
	}
}

func TestDTD21_OnlyAuthenticBlobsOpen(t *testing.T) {
	t.Parallel()
	flip := func(of []byte, at int) []byte {
		out := bytes.Clone(of)
		out[at] ^= 1
		return out
	}
	for _, mode := range []string{legacy.CBC, legacy.CTR} {
		good, other := legacytest.New(mode, 1, []byte(patient)), legacytest.New(mode, 2, []byte(patient))
		got, err := opened(t, keys(t), good.Line())
		require.NoError(t, err)
		require.Equal(t, patient, got)

		another := map[string]string{legacy.CBC: legacy.CTR, legacy.CTR: legacy.CBC}[mode]
		for name, bad := range map[string]struct {
			change func(*legacytest.Blob)
			want   error
		}{
			"version":        {func(b *legacytest.Blob) { b.Version = 2 }, legacy.ErrVersion},
			"other cipher":   {func(b *legacytest.Blob) { b.Cipher = another }, legacy.ErrMAC},
			"cipher":         {func(b *legacytest.Blob) { b.Cipher = "AES-128-ECB" }, legacy.ErrCipher},
			"cipher's case":  {func(b *legacytest.Blob) { b.Cipher = strings.ToLower(b.Cipher) }, legacy.ErrCipher},
			"iv":             {func(b *legacytest.Blob) { b.IV = flip(b.IV, 0) }, legacy.ErrMAC},
			"iv swapped":     {func(b *legacytest.Blob) { b.IV = other.IV }, legacy.ErrMAC},
			"iv cut":         {func(b *legacytest.Blob) { b.IV = b.IV[:15] }, legacy.ErrMAC},
			"iv cut, signed": {func(b *legacytest.Blob) { b.IV = b.IV[:15]; *b = b.Signed() }, legacy.ErrSize},
			"byte moved": {func(b *legacytest.Blob) {
				b.IV, b.Ciphertext = append(bytes.Clone(b.IV), b.Ciphertext[0]), b.Ciphertext[1:]
			}, legacy.ErrMAC},
			"first byte":     {func(b *legacytest.Blob) { b.Ciphertext = flip(b.Ciphertext, 0) }, legacy.ErrMAC},
			"last byte":      {func(b *legacytest.Blob) { b.Ciphertext = flip(b.Ciphertext, len(b.Ciphertext)-1) }, legacy.ErrMAC},
			"cut":            {func(b *legacytest.Blob) { b.Ciphertext = b.Ciphertext[:len(b.Ciphertext)-16] }, legacy.ErrMAC},
			"nothing in it":  {func(b *legacytest.Blob) { b.Ciphertext = nil; *b = b.Signed() }, legacy.ErrSize},
			"mac":            {func(b *legacytest.Blob) { b.MAC = flip(b.MAC, 31) }, legacy.ErrMAC},
			"mac cut":        {func(b *legacytest.Blob) { b.MAC = b.MAC[:16] }, legacy.ErrNoMAC},
			"no mac":         {func(b *legacytest.Blob) { b.MAC = nil }, legacy.ErrNoMAC},
			"mac of another": {func(b *legacytest.Blob) { b.MAC = other.MAC }, legacy.ErrMAC},
		} {
			b := good
			bad.change(&b)
			got, err := opened(t, keys(t), b.Line())
			require.ErrorIs(t, err, bad.want, "%s, %s", mode, name)
			require.Empty(t, got)
		}
		for i := range good.Ciphertext {
			b := good
			b.Ciphertext = flip(b.Ciphertext, i)
			_, err := opened(t, keys(t), b.Line())
			require.ErrorIs(t, err, legacy.ErrMAC)
		}
	}
}

func TestWrongKeysOpenNothing(t *testing.T) {
	t.Parallel()
	wrong := bytes.Repeat([]byte{7}, 32)
	for _, mode := range []string{legacy.CBC, legacy.CTR} {
		line := legacytest.New(mode, 1, []byte(patient)).Line()
		k, err := legacy.NewKeys(legacytest.Encryption, wrong)
		require.NoError(t, err)
		_, err = opened(t, k, line)
		require.ErrorIs(t, err, legacy.ErrMAC)
		k, err = legacy.NewKeys(wrong, legacytest.MAC)
		require.NoError(t, err)
		_, err = opened(t, k, line)
		require.True(t, errors.Is(err, legacy.ErrPadding) || errors.Is(err, legacy.ErrResource), "%v", err)
	}
}

// What is authentic must also be a resource, and no more than one entry of a bundle.
func TestAuthenticBlobsHoldOneResource(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "x", "[]", "{}", `"resourceType"`, `{"resourceType":""}`, `{"resourceType":"Patient"`,
		`{"resourceType":"Patient"}},{"resource":{"resourceType":"Patient"}`, `{"resourceType":"Patient"}{}`,
	} {
		for _, mode := range []string{legacy.CBC, legacy.CTR} {
			if mode == legacy.CTR && text == "" {
				continue // nothing at all, which is ErrSize
			}
			_, err := opened(t, keys(t), legacytest.New(mode, 1, []byte(text)).Line())
			require.ErrorIs(t, err, legacy.ErrResource, text)
		}
	}
	const whole = `{"resourceType":"Patient"}      ` // two blocks
	for name, text := range map[string]string{
		"none":          whole,
		"zero":          whole[:31] + "\x00",
		"over a block":  whole[:31] + "\x11",
		"unequal":       whole[:29] + "\x02\x03\x03",
		"first of many": whole + "\x0f" + strings.Repeat("\x10", 15),
	} {
		_, err := opened(t, keys(t), legacytest.Padded(legacy.CBC, 1, []byte(text)).Line())
		require.ErrorIs(t, err, legacy.ErrPadding, name)
	}
	b := legacytest.New(legacy.CBC, 1, []byte(patient))
	b.Ciphertext = b.Ciphertext[:len(b.Ciphertext)-1]
	_, err := opened(t, keys(t), b.Signed().Line())
	require.ErrorIs(t, err, legacy.ErrSize)
}

func TestLinesThatAreNoBlobs(t *testing.T) {
	t.Parallel()
	line := strings.TrimSuffix(legacytest.New(legacy.CTR, 1, []byte(patient)).Line(), "\n")
	for name, bad := range map[string]string{
		"empty": "\n", "words": "hello\n", "cut": line[:len(line)-5], "list": "[" + line + "]", "two": line + line, "rest": line + "}",
		"unknown field": `{"key":1,` + line[1:], "version in words": strings.Replace(line, ":1,", `:"1",`, 1),
		"other alphabet": strings.Replace(line, `"mac":"`, `"mac":"-_`, 1),
	} {
		_, err := opened(t, keys(t), bad)
		require.ErrorIs(t, err, legacy.ErrMalformed, name)
	}
	long := strings.Repeat(" ", legacy.MaxLine) + line
	calls := 0
	err := keys(t).Read(strings.NewReader(line+"\n"+long+"\n"+line), func(_ int, _ []byte, err error) error {
		calls++
		return err
	})
	require.ErrorContains(t, err, "line 2 is longer than")
	require.Equal(t, 1, calls)
}

func TestBundleIsWholeOrFails(t *testing.T) {
	t.Parallel()
	one, two := legacytest.New(legacy.CBC, 1, []byte(patient)), legacytest.New(legacy.CTR, 2, []byte(patient))
	var out bytes.Buffer
	require.NoError(t, keys(t).Bundle(&out, strings.NewReader(one.Line()+two.Line())))
	var bundle struct {
		ResourceType string
		Entry        []struct{ Resource json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &bundle))
	require.Equal(t, "Bundle", bundle.ResourceType)
	require.Len(t, bundle.Entry, 2)
	require.Equal(t, patient, string(bundle.Entry[1].Resource))

	two.MAC[0] ^= 1
	out.Reset()
	err := keys(t).Bundle(&out, strings.NewReader(one.Line()+two.Line()))
	require.ErrorIs(t, err, legacy.ErrMAC)
	require.ErrorContains(t, err, "line 2 ")
	require.False(t, json.Valid(out.Bytes()), "half a bundle must not look like a whole one")
	require.ErrorContains(t, keys(t).Bundle(&out, strings.NewReader("")), "no blob")
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	raw, text := file("raw", string(legacytest.Encryption), 0o600), file("hex", hex.EncodeToString(legacytest.MAC)+"\n", 0o400)
	k, err := legacy.ReadKeys(raw, text)
	require.NoError(t, err)
	_, err = opened(t, k, legacytest.New(legacy.CTR, 1, []byte(patient)).Line())
	require.NoError(t, err)
	k.Forget()
	_, err = opened(t, k, legacytest.New(legacy.CTR, 1, []byte(patient)).Line())
	require.ErrorIs(t, err, legacy.ErrMAC)

	secret := strings.Repeat("s", 31)
	for want, pair := range map[string][2]string{
		"others can read":               {raw, file("open", string(legacytest.MAC), 0o640)},
		"must hold 32 bytes":            {file("short", secret, 0o600), text},
		"64 hexadecimal digits":         {raw, file("nothex", strings.Repeat("g", 64), 0o600)},
		"are the same":                  {raw, file("same", hex.EncodeToString(legacytest.Encryption), 0o600)},
		"read the MAC key: open ":       {raw, filepath.Join(folder, "nothing")},
		"or 64 hexadecimal":             {file("long", strings.Repeat("ab", 65), 0o600), text},
		"read the encryption key: open": {filepath.Join(folder, "nothing"), text},
	} {
		_, err := legacy.ReadKeys(pair[0], pair[1])
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), secret)
	}
}

// FuzzOpen looks for anything that opens and was not made with the key, and for panics.
func FuzzOpen(f *testing.F) {
	good := map[string]bool{}
	for _, mode := range []string{legacy.CBC, legacy.CTR} {
		b := legacytest.New(mode, 1, []byte(patient))
		good[string(b.MAC)] = true
		f.Add(b.Line())
		b.IV = nil
		f.Add(b.Line())
	}
	f.Add(`{"version":1,"cipher":"AES-256-CBC","iv":"","ciphertext":"","mac":""}`)
	k := keys(f)
	f.Fuzz(func(t *testing.T, text string) {
		_ = k.Read(strings.NewReader(text), func(_ int, plain []byte, refused error) error {
			switch {
			case refused != nil && plain != nil:
				t.Fatal("a refused blob shows something")
			case refused == nil && string(plain) != patient:
				t.Fatalf("something else than was sealed opens: %q", plain)
			}
			return nil
		})
	})
}
