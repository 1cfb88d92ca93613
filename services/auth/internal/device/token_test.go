package device

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

var testTokens = &Tokens{key: bytes.Repeat([]byte{7}, 32)}

func TestDH31_ATokenHasOneSpellingAndOneKey(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0190a0b0-1111-7222-8333-444455556666")
	token := testTokens.Sign(id)
	require.Equal(t, id, testTokens.Read(token))
	require.LessOrEqual(t, len(token), 256)

	other := &Tokens{key: bytes.Repeat([]byte{8}, 32)}
	require.Equal(t, uuid.Nil, other.Read(token))
	require.Equal(t, uuid.Nil, testTokens.Read(strings.Replace(token, "0190", "0191", 1)), "another device")
	for i := range len(token) {
		changed := []byte(token)
		changed[i] ^= 1
		require.Equal(t, uuid.Nil, testTokens.Read(string(changed)), i)
	}
	for _, bad := range []string{
		"", "ckd_", "ckd_.", strings.TrimPrefix(token, "ckd_"), strings.ToUpper(token), token + "=", token + "\n", " " + token,
		strings.Replace(token, "ckd_", "ckd_ckd_", 1), "ckd_{" + id.String() + "}" + token[strings.Index(token, "."):],
	} {
		require.Equal(t, uuid.Nil, testTokens.Read(bad), bad)
	}
}

const (
	firefox    = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	newFirefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	winFirefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
	chrome     = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)

func TestDH31_FeaturesSurviveAnUpdateAndNothingElse(t *testing.T) {
	t.Parallel()
	was := Features(firefox, "de-DE,de;q=0.9")
	require.Equal(t, was, Features(newFirefox, "de;q=0.8, en"), "an update, and another region")
	require.NotEqual(t, was, Features(winFirefox, "de-DE"))
	require.NotEqual(t, was, Features(chrome, "de-DE"))
	require.NotEqual(t, was, Features(firefox, "fr"))
	require.Equal(t, "Firefox on Linux", Label(firefox))
	require.Equal(t, "Unknown client", Label(""))
}

func FuzzDeviceToken(f *testing.F) {
	f.Add(testTokens.Sign(uuid.Max))
	f.Add("ckd_0190a0b0-1111-7222-8333-444455556666.AAAA")
	f.Add("ckd_.")
	f.Fuzz(func(t *testing.T, text string) {
		if id := testTokens.Read(text); id != uuid.Nil && testTokens.Sign(id) != text {
			t.Fatalf("%q reads as %s but is not its token", text, id)
		}
		if label := Label(text); label == "" || utf8.RuneCountInString(label) > maxLabel {
			t.Fatalf("label %q", label)
		}
		Features(text, text)
	})
}
