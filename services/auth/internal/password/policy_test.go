package password

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
)

// short asks for the least that may be asked for, so that the other rules decide.
var short = Policy{MinLength: LeastLength}

func TestDC13_LengthIsFifteenUnlessThePolicySaysOtherwise(t *testing.T) {
	t.Parallel()
	policy := Policy{MinLength: DefaultLength}
	const fourteen = "Vk9#tq2!xW7pZm"
	require.ErrorContains(t, policy.Check("password", fourteen, nil), "at least 15")
	require.NoError(t, policy.Check("password", fourteen+"ä", nil))
	require.NoError(t, short.Check("password", fourteen, nil))
}

func TestDC13_DX10_WeakPasswordsAreRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	words := []string{"dr.smith", "Agatha Smith", "agatha.smith@example.org"}
	for name, c := range map[string]struct{ password, advice string }{
		"seven characters":   {"q7#Lw!z", "at least 8"},
		"too long":           {strings.Repeat("xkq ", 70), "at most 256"},
		"common":             {"password1", "breaches"},
		"leet":               {"p4ssw0rd", "breaches"},
		"own name":           {"agathasmith", "your name"},
		"own mail":           {"agatha.smith@example.org", "your name"},
		"keyboard":           {"qwertyuiop", ""},
		"repeats":            {"aaaaaaaaaaaa", "repeats"},
		"sequence":           {"abcdefghijkl", ""},
		"eight code points":  {"ääääääää", ""},
		"accents":            {"pässwörd1", "most common"},
		"own name, accented": {"agäthasmith", "your name"},
		"length by bytes":    {"äöüß", "at least 8"},
		"the product's name": {"carekeepcarekeep", ""},
	} {
		err := short.Check("password", c.password, words)
		require.Error(t, err, name)
		require.Equal(t, "PASSWORD_WEAK", errs.ReasonOf(err), name)
		require.Contains(t, err.Error(), c.advice, name)
		require.NotContains(t, err.Error(), c.password, name)
		var typed *errs.Error
		require.True(t, errors.As(err, &typed))
		require.Equal(t, "password", typed.Violations()[0].Field)
	}
	for _, length := range []int{64, 256} {
		require.NoError(t, short.Check("password", strings.Repeat("quark-leuchter-pflaume-42-säge! ", 8)[:length], words))
	}
	for _, good := range []string{"correct horse battery staple", "pflaumen-säge-quark-leuchter", "k9#Vq2!xW7pZ", strings.Repeat("汉字很难猜测的密码组合", 4)} {
		require.NoError(t, short.Check("password", good, words), good)
	}
}

func TestCompatibleSpellingsAreOnePassword(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Default, 1, 1)
	require.NoError(t, err)
	phc, err := h.Hash(t.Context(), "\u00e4pfel-\ufb01sch-kuchen")
	require.NoError(t, err)
	same, err := h.Verify(t.Context(), phc, "a\u0308pfel-fisch-kuchen")
	require.NoError(t, err)
	require.True(t, same)
}

// The score must come in time whatever is typed: zxcvbn alone takes seconds for long input.
func TestLongPasswordsAreScoredInTime(t *testing.T) {
	t.Parallel()
	start := time.Now()
	_ = short.Check("password", strings.Repeat("aB3$", 64), nil)
	require.Less(t, time.Since(start), 2*time.Second)
}

func FuzzCheck(f *testing.F) {
	f.Add("correct horse battery staple", "dr.smith")
	f.Add("ääää1999-12-31ﬁﬁ", "ä")
	f.Add("\xff\xfe12345678", "")
	f.Add("İİİİİİİİ", "i̇")
	f.Add("20/12/1990 ẞẞ", "x")
	f.Fuzz(func(t *testing.T, text, word string) {
		if err := short.Check("password", text, []string{word}); err != nil && errs.ReasonOf(err) != "PASSWORD_WEAK" {
			t.Fatal(err)
		}
	})
}

// Strong by zxcvbn's measure, and yet known from breaches: the whole password counts, in any case.
func TestDC13_DX10_BreachedPasswordsAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	require.Greater(t, len(common()), 15_000)
	for _, known := range []string{"!qaz2wsx", "!QAZ2WSX", "%%passwo"} {
		require.True(t, breached(normalise(known)), known)
		err := short.Check("password", known, nil)
		require.ErrorContains(t, err, "breaches")
		require.NotContains(t, err.Error(), known)
	}
	require.False(t, breached("!qaz2wsx-and-more"), "a part is zxcvbn's business")
	require.NoError(t, short.Check("password", "quark-leuchter-pflaume-42", nil))
}
