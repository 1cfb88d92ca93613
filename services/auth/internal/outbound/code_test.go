package outbound_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestDMD26_ACodeNeedsAnEnrolment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	practice, user := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	require.ErrorContains(t, r.code(practice, user, mobile, false), "CONSENT_MISSING")
	r.work()
	require.Empty(t, r.phone.Texts(mobile))

	require.NoError(t, r.code(practice, user, mobile, true))
	require.NoError(t, r.code(practice, user, mobile, true), "codes have no daily limit, and an enrolment may be repeated")
	r.work()
	texts := r.phone.Texts(mobile)
	require.Len(t, texts, 2)
	require.Equal(t, testkit.SMSFrom, texts[0].From)
	require.Contains(t, texts[0].Body, "Care Example: your code is 482913.")
	require.ErrorContains(t, r.code(uuid.Must(uuid.NewV7()), user, mobile, false), "CONSENT_MISSING", "another practice has no consent")
	require.NotContains(t, r.Log.String(), mobile)
}

func TestDMD27_AStopBetweenQueueAndSendingWithholdsTheCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	for number, to := range map[string]string{mobile: p.campaign.Sender, "+12025550124": testkit.SMSFrom} {
		require.NoError(t, r.code(p.Practice, p.User, number, true))
		r.reply(number, to, "Stop")
		r.work()
		require.Len(t, r.phone.Texts(number), 1)
		require.Contains(t, r.phone.Texts(number)[0].Body, "you have opted out")
		require.ErrorContains(t, r.code(p.Practice, p.User, number, true), "OPTED_OUT", "a fresh enrolment changes nothing")
	}
	// What was said to the practice holds there; what was said to the installation holds everywhere.
	other := uuid.Must(uuid.NewV7())
	require.NoError(t, r.code(other, p.User, mobile, true))
	require.ErrorContains(t, r.code(other, p.User, "+12025550124", true), "OPTED_OUT")
}

func TestTheProviderIsTriedAgainUnlessItRefusesForGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	practice, user := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(503, 0)
	r.work()
	require.Contains(t, r.Log.String(), "status 503")
	require.NotContains(t, r.Log.String(), mobile)
	r.phone.Answer(0, 0)
	r.work()
	require.Empty(t, r.phone.Texts(mobile), "not before the pause is over")
	r.Clock.Advance(11 * time.Second)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "a message that was sent is not in the queue any more")

	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(503, 0)
	r.work()
	r.phone.Answer(0, 0)
	r.Clock.Advance(10 * time.Minute)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "a code that is too old is not sent")

	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(400, 21610)
	r.work()
	r.phone.Answer(0, 0)
	require.ErrorContains(t, r.code(practice, user, mobile, true), "OPTED_OUT", "the provider knows of a stop that we do not")
}

// The index of a number says nothing across practices, and nothing at all without the key.
func TestDMD03_NumbersAreSealedAndFoundByABlindIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	p.agree(mobile, store.CategoryCare)
	require.NoError(t, r.code(p.Practice, p.User, mobile, true))
	r.reply(mobile, p.campaign.Sender, "my new number is "+mobile)
	require.NotEqual(t, r.sms.Token(p.Practice, mobile), r.sms.Token(uuid.Must(uuid.NewV7()), mobile))
	require.NotEqual(t, r.sms.Token(p.Practice, mobile), r.sms.Token(store.Platform, mobile))
	dump := r.dump()
	require.Contains(t, dump, "vault:v1:")
	require.NotContains(t, dump, mobile[1:])
	require.NotContains(t, dump, "482913")
}
