package outbound_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestDMD27_AStopIsForGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	p.agree(mobile, store.CategoryAppointments)
	require.NoError(t, p.send(mobile))
	form, signature := r.reply(mobile, p.campaign.Sender, "STOP")
	require.ErrorContains(t, p.send(mobile), "OPTED_OUT", "at once")
	r.work()
	texts := r.phone.Texts(mobile)
	require.Len(t, texts, 1, "the message that waited is not sent, the confirmation is")
	require.Equal(t, "Smith Clinic: you have opted out. We will send no more texts to this number. Questions? Call 202-555-0142.", texts[0].Body)
	require.Equal(t, p.campaign.Sender, texts[0].From)

	r.reply(mobile, p.campaign.Sender, "stop")
	require.NoError(t, r.deliver(form, signature))
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "one confirmation, however often")

	r.Clock.Advance(8 * 24 * time.Hour)
	for range 2 {
		r.reply(mobile, p.campaign.Sender, "START")
		r.reply(mobile, p.campaign.Sender, "unstop")
		p.agree(mobile, store.CategoryAppointments)
		require.ErrorContains(t, p.send(mobile), "OPTED_OUT", "START and a fresh consent lift nothing")
		// Erasing the person leaves that they said stop.
		require.NoError(t, r.sms.EraseNumber(p.ctx(), p.Caller, mobile))
		list, standing, err := r.sms.Consents(p.ctx(), p.Caller, mobile)
		require.NoError(t, err)
		require.Empty(t, list)
		require.True(t, standing.OptedOut)
	}
	tx := r.store.In(p.Practice)
	tx.Suppress(r.sms.Token(p.Practice, mobile))
	require.NoError(t, tx.Read(r.Context()))
	r.denied("DELETE FROM suppressions", "UPDATE suppressions SET token = token", "TRUNCATE suppressions")
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1)
	require.NotContains(t, r.dump(), mobile[1:])
	require.NotContains(t, r.Log.String(), mobile[1:])
}

func TestDMD28_AConfirmationComesWithinFiveMinutesOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	r.phone.Answer(503, 0)
	r.reply(mobile, p.campaign.Sender, "quit")
	r.reply("+12025550124", p.campaign.Sender, "end")
	r.work()
	r.phone.Answer(0, 0)
	r.Clock.Advance(4*time.Minute + 59*time.Second)
	_, err := r.sms.Round(r.Context())
	require.NoError(t, err)
	require.Len(t, r.phone.Texts(mobile), 1)
	r.phone.Answer(503, 0)
	r.reply("+12025550125", p.campaign.Sender, "Opt-Out.")
	r.work()
	r.phone.Answer(0, 0)
	r.Clock.Advance(5 * time.Minute)
	r.work()
	require.Empty(t, r.phone.Texts("+12025550125"))
	p.agree("+12025550125", store.CategoryAppointments)
	require.ErrorContains(t, p.send("+12025550125"), "OPTED_OUT")
}

func TestDMD28_HelpAnswersWhoAndHowAndSuppressesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	p.agree(mobile, store.CategoryAppointments)
	form, signature := r.reply(mobile, p.campaign.Sender, "help!")
	require.NoError(t, r.deliver(form, signature))
	r.work()
	texts := r.phone.Texts(mobile)
	require.Len(t, texts, 1)
	require.Contains(t, texts[0].Body, "Smith Clinic")
	require.Contains(t, texts[0].Body, "202-555-0142")
	require.NoError(t, p.send(mobile))
	r.reply(mobile, testkit.SMSFrom, "HELP")
	r.work()
	require.Len(t, r.phone.Texts(mobile), 3)
	require.Contains(t, r.phone.Texts(mobile)[2].Body, "Care Example")
}

func TestDMD28_AnythingElseSuspendsUntilAPersonHasReadIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p, other := r.practice("+12025550142"), r.practice("+12025550143")
	p.agree(mobile, store.CategoryAppointments)
	form, signature := r.reply(mobile, p.campaign.Sender, "please leave me alone")
	r.reply(mobile, p.campaign.Sender, "?")
	require.NoError(t, r.deliver(form, signature))
	require.ErrorContains(t, p.send(mobile), "SUSPENDED")
	list, more, err := r.sms.Reviews(p.ctx(), p.Caller, uuid.Nil, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, more)
	list, _, err = r.sms.Reviews(p.ctx(), p.Caller, uuid.Nil, 10)
	require.NoError(t, err)
	require.Len(t, list, 2, "the repeated delivery is not one more")
	foreign, _, err := r.sms.Reviews(other.ctx(), other.Caller, uuid.Nil, 10)
	require.NoError(t, err)
	require.Empty(t, foreign)
	require.ErrorContains(t, r.sms.ResolveReview(other.ctx(), other.Caller, list[0].ID, false), "REVIEW_NOT_FOUND")

	require.NoError(t, r.sms.ResolveReview(p.ctx(), p.Caller, list[0].ID, false))
	require.ErrorContains(t, p.send(mobile), "SUSPENDED", "the other reply waits")
	require.NoError(t, r.sms.ResolveReview(p.ctx(), p.Caller, list[1].ID, false))
	require.NoError(t, r.deliver(form, signature))
	require.NoError(t, p.send(mobile), "a replayed delivery suspends nothing again")
	require.ErrorContains(t, r.sms.ResolveReview(p.ctx(), p.Caller, list[1].ID, true), "REVIEW_NOT_FOUND", "it was read")

	r.reply(mobile, p.campaign.Sender, "I said no")
	r.work()
	require.Empty(t, r.phone.Texts(mobile), "what waited is withheld")
	list, _, err = r.sms.Reviews(p.ctx(), p.Caller, uuid.Nil, 10)
	require.NoError(t, err)
	require.Equal(t, mobile, list[0].Number)
	require.Equal(t, "I said no", list[0].Text)
	require.NoError(t, r.sms.ResolveReview(p.ctx(), p.Caller, list[0].ID, true))
	require.ErrorContains(t, p.send(mobile), "OPTED_OUT")
	require.NotContains(t, r.dump(), "leave me alone")
}

// A reply to the number of the one-time codes is for the practice of the user to read.
func TestDMD28_AReplyToACodeIsReadInTheUsersPractice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	require.NoError(t, r.code(p.Practice, p.User, mobile, true))
	r.work()
	r.reply(mobile, testkit.SMSFrom, "who are you?")
	require.ErrorContains(t, r.code(p.Practice, p.User, mobile, true), "SUSPENDED")
	list, _, err := r.sms.Reviews(p.ctx(), p.Caller, uuid.Nil, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, r.sms.ResolveReview(p.ctx(), p.Caller, list[0].ID, false))
	require.NoError(t, r.code(p.Practice, p.User, mobile, true))
}

func TestDMD28_EventsSayWhatHappenedAndToNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	consent := p.agree(mobile, store.CategoryAppointments)
	require.NoError(t, p.send(mobile))
	r.work()
	r.reply(mobile, p.campaign.Sender, "Cancel")
	r.reply("+12025550124", p.campaign.Sender, "hm")
	r.work()
	seen := map[string]auditv1.Risk{}
	for _, e := range r.Events() {
		require.Equal(t, p.Practice.String(), e.GetPracticeId())
		seen[e.GetAction().String()+" "+e.GetReason()] = e.GetRisk()
		require.NotContains(t, e.String(), mobile[1:])
	}
	require.Equal(t, auditv1.Risk_RISK_LOW, seen[accessv1.Action_ACTION_MESSAGE_SEND.String()+" "])
	require.Equal(t, auditv1.Risk_RISK_MEDIUM, seen["ACTION_CONSENT_CHANGE OPTED_OUT"])
	require.Equal(t, auditv1.Risk_RISK_MEDIUM, seen["ACTION_CONSENT_CHANGE SUSPENDED"])
	require.NotEmpty(t, consent.ID)
}
