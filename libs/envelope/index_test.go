package envelope

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func index(t testing.TB, b byte) *Index {
	x, err := NewIndex(bytes.Repeat([]byte{b}, KeySize))
	require.NoError(t, err)
	return x
}

func TestEqualValuesWrittenDifferentlyShareAToken(t *testing.T) {
	x := index(t, 1)
	same := map[string][2][]string{
		"identifier punctuation": {{KindIdentifier, "ssn", "999-26-8812"}, {KindIdentifier, "ssn", "999268812"}},
		"identifier case":        {{KindIdentifier, "dl", "s99 9aß"}, {KindIdentifier, "dl", "S999Aß"}},
		"phone national":         {{KindPhone, "+1 (555) 123-4567"}, {KindPhone, "555.123.4567"}},
		"phone international":    {{KindPhone, "0049 30 123456"}, {KindPhone, "+49 30 123456"}},
		"name":                   {{KindNameBirthDate, "O'Brien-Núñez", "1980-02-29"}, {KindNameBirthDate, "obrien nunez", "1980-02-29"}},
		"name compatibility":     {{KindNameBirthDate, "ﬁnn STRASSE", "1980-02-29"}, {KindNameBirthDate, "Finn Straße", "1980-02-29"}},
	}
	for name, p := range same {
		require.NotNil(t, x.Token(p[0][0], p[0][1:]...), name)
		require.Len(t, x.Token(p[0][0], p[0][1:]...), 32)
		require.Equal(t, x.Token(p[0][0], p[0][1:]...), x.Token(p[1][0], p[1][1:]...), name)
	}
}

func TestDifferentValuesHaveDifferentTokens(t *testing.T) {
	x := index(t, 1)
	different := map[string][2][]string{
		"system is exact":  {{KindIdentifier, "a", "1234"}, {KindIdentifier, "A", "1234"}},
		"part boundaries":  {{KindIdentifier, "A1", "234"}, {KindIdentifier, "A", "1234"}},
		"digits in names":  {{KindNameBirthDate, "Smith123", "1980-01-01"}, {KindNameBirthDate, "Smith", "1980-01-01"}},
		"birth date":       {{KindNameBirthDate, "Smith", "1980-01-01"}, {KindNameBirthDate, "Smith", "1980-01-02"}},
		"names are parts":  {{KindNameBirthDate, "ab", "c", "1980-01-01"}, {KindNameBirthDate, "a", "bc", "1980-01-01"}},
		"kinds are apart":  {{KindPhone, "5551234567"}, {KindIdentifier, "", "5551234567"}},
		"phone all digits": {{KindPhone, "5551234567"}, {KindPhone, "5551234568"}},
	}
	for name, p := range different {
		require.NotEqual(t, x.Token(p[0][0], p[0][1:]...), x.Token(p[1][0], p[1][1:]...), name)
	}
	require.NotEqual(t, x.Token(KindPhone, "5551234567"), index(t, 2).Token(KindPhone, "5551234567"), "another practice")
	require.NotEqual(t, x.Digest([]byte("a")), x.Digest([]byte("b")))
	require.Equal(t, x.Digest([]byte("a")), x.Digest([]byte("a")))
	require.NotEqual(t, x.Digest([]byte("a")), index(t, 2).Digest([]byte("a")))
}

func TestValuesWithFewOutcomesAreRefusedAnIndex(t *testing.T) {
	x := index(t, 1)
	for _, kind := range []string{"sex", "gender", "birthdate", "name", "state", ""} {
		require.Panics(t, func() { x.Token(kind, "female") }, kind)
	}
	require.Panics(t, func() { x.Token(KindNameBirthDate, "1980-01-01") }, "a birth date alone")
	require.Panics(t, func() { x.Token(KindIdentifier, "1980-01-01") })
	require.Nil(t, x.Token(KindNameBirthDate, "", "1980-01-01"), "a birth date with an empty name")
	require.Nil(t, x.Token(KindNameBirthDate, " .-", "1980-01-01"))
	require.Nil(t, x.Token(KindNameBirthDate, "Smith", "1980"))
	require.Nil(t, x.Token(KindNameBirthDate, "Smith", "1980-02-30"))
	require.Nil(t, x.Token(KindIdentifier, "ssn", "--"))
	require.Nil(t, x.Token(KindPhone, "911"))
}

func TestNormalisersAreIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[+0]{0,3}1?[0-9 ()-]{5,14}`)).Draw(t, "value")
		for _, f := range []func(string) string{Identifier, Phone, Name, BirthDate} {
			require.Equal(t, f(s), f(f(s)))
		}
	})
}

func TestAnIndexKeyIsLongEnoughCopiedAndWiped(t *testing.T) {
	_, err := NewIndex(make([]byte, 16))
	require.Error(t, err)
	raw := bytes.Repeat([]byte{9}, KeySize)
	x, err := NewIndex(raw)
	require.NoError(t, err)
	before := x.Digest(nil)
	clear(raw)
	require.Equal(t, before, x.Digest(nil))
	x.Wipe()
	require.Panics(t, func() { x.Digest(nil) })
}
