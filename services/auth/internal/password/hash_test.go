package password

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDC11_DX11_PasswordsAreArgon2idStringsThatNameTheirParameters(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	phc, err := h.Hash(t.Context(), "correct horse battery staple")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$"), phc)
	require.False(t, h.Outdated(phc))

	again, err := h.Hash(t.Context(), "correct horse battery staple")
	require.NoError(t, err)
	require.NotEqual(t, phc, again, "every hash has its own salt")

	stronger, err := NewHasher(Parameters{MemoryKiB: 46 * 1024, Passes: 1, Parallelism: 1}, 1, 1)
	require.NoError(t, err)
	require.True(t, stronger.Outdated(phc))
	for text, want := range map[string]bool{"correct horse battery staple": true, "Correct horse battery staple": false, "": false} {
		ok, err := stronger.Verify(t.Context(), phc, text)
		require.NoError(t, err)
		require.Equal(t, want, ok, text)
	}
}

func TestDC11_NoCharacterIsLeftOut(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	long := strings.Repeat("ä", 255)
	phc, err := h.Hash(t.Context(), long+"a")
	require.NoError(t, err)
	for other, same := range map[string]bool{long + "a": true, long + "b": false, long: false} {
		ok, err := h.Verify(t.Context(), phc, other)
		require.NoError(t, err)
		require.Equal(t, same, ok)
	}
}

func TestUnknownUsersCostAHash(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	ok, err := h.Verify(t.Context(), "", "anything")
	require.NoError(t, err)
	require.False(t, ok)
	_, salt, key, err := parse(h.dummy)
	require.NoError(t, err)
	require.Len(t, salt, saltBytes)
	require.Len(t, key, keyBytes)
}

func TestDC11_TheFIPSProfileIsPBKDF2(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(FIPS, 1, 1)
	require.NoError(t, err)
	phc, err := h.Hash(t.Context(), "quark-leuchter-pflaume-42")
	require.NoError(t, err)
	require.Regexp(t, `^\$pbkdf2-sha256\$i=600000\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, phc)
	for password, right := range map[string]bool{"quark-leuchter-pflaume-42": true, "quark-leuchter-pflaume-43": false} {
		ok, err := h.Verify(t.Context(), phc, password)
		require.NoError(t, err)
		require.Equal(t, right, ok)
	}
	argon, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	require.True(t, argon.Outdated(phc), "hashes follow the profile at sign-in, either way")
	require.False(t, h.Outdated(phc))
	old, err := argon.Hash(t.Context(), "quark-leuchter-pflaume-42")
	require.NoError(t, err)
	require.True(t, h.Outdated(old))
	ok, err := h.Verify(t.Context(), old, "quark-leuchter-pflaume-42")
	require.NoError(t, err)
	require.True(t, ok)
	for _, p := range []Parameters{{Iterations: 599_999}, {Iterations: maxIterations + 1}, {Iterations: 600_000, MemoryKiB: 19 * 1024}} {
		require.Error(t, p.Check(), "%+v", p)
	}
	for _, bad := range []string{"$pbkdf2-sha256$i=0$", "$pbkdf2-sha256$i=600000,x$", "$pbkdf2-sha256$i=0600000$", "$pbkdf2-sha1$i=600000$"} {
		_, err := h.Verify(t.Context(), bad+strings.SplitN(phc, "$", 4)[3], "x")
		require.ErrorIs(t, err, errFormat, bad)
	}
}

func TestParametersHaveAFloor(t *testing.T) {
	t.Parallel()
	for _, p := range []Parameters{
		{MemoryKiB: 19*1024 - 1, Passes: 2, Parallelism: 1},
		{MemoryKiB: 19 * 1024, Passes: 1, Parallelism: 1},
		{MemoryKiB: 46*1024 - 1, Passes: 1, Parallelism: 1},
		{MemoryKiB: 64 * 1024, Passes: 3},
		{MemoryKiB: 2 * 1024 * 1024, Passes: 2, Parallelism: 1},
		{},
	} {
		require.Error(t, p.Check(), "%+v", p)
		_, err := NewHasher(p, 1, 1)
		require.Error(t, err)
	}
	require.NoError(t, Default.Check())
	require.NoError(t, Parameters{MemoryKiB: 46 * 1024, Passes: 1, Parallelism: 1}.Check())
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	release, err := h.acquire(t.Context())
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.acquire(gone)
	require.ErrorIs(t, err, context.Canceled, "the second waits, and stops when its client leaves")
	h.waiting <- struct{}{} // another one waits
	_, err = h.Verify(t.Context(), "", "x")
	require.ErrorIs(t, err, ErrBusy, "the third is sent away")
	<-h.waiting
	release()
	_, err = h.Verify(t.Context(), "", "x")
	require.NoError(t, err)
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U")
	f.Add("$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$a2V5")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, salt, key, err := parse(text)
		if err == nil && (p.MemoryKiB > maxMemoryKiB || p.Passes > maxPasses || len(salt) < 8 || len(key) < 16) {
			t.Fatalf("accepted %q", text)
		}
	})
}
