package outbound_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// dump is every row of every table of text messages, and the outbox.
func (r *rig) dump() string {
	var out strings.Builder
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		for _, table := range []string{"consents", "suppressions", "holds", "reviews", "messages", "texts", "received", "outbox"} {
			rows, err := conn.Query(ctx, "SELECT t::text FROM "+table+" t")
			require.NoError(r.t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(r.t, err)
			fmt.Fprintln(&out, table, lines)
		}
	})
	for _, event := range r.Events() {
		fmt.Fprintln(&out, event)
	}
	return out.String()
}

func TestDMD26_NoConsentNoMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	require.ErrorContains(t, p.send(mobile), "CONSENT_MISSING")
	p.agree(mobile, store.CategoryCare)
	require.ErrorContains(t, p.send(mobile), "CONSENT_MISSING", "a consent to another category")
	other := r.practice("+12025550143")
	other.agree(mobile, store.CategoryAppointments)
	require.ErrorContains(t, p.send(mobile), "CONSENT_MISSING", "a consent in another practice")
	p.agree("+12025550124", store.CategoryAppointments)
	require.ErrorContains(t, p.send(mobile), "CONSENT_MISSING", "a consent of another number")
	r.work()
	require.Empty(t, r.phone.Texts(mobile))

	consent := p.agree("+1 (202) 555-0123", store.CategoryAppointments)
	require.Equal(t, consent, p.agree(mobile, store.CategoryAppointments), "recorded twice, it is one")
	require.NoError(t, p.send(mobile))
	r.work()
	texts := r.phone.Texts(mobile)
	require.Len(t, texts, 1)
	require.Equal(t, p.campaign.Sender, texts[0].From)
	require.True(t, strings.HasPrefix(texts[0].Body, "Smith Clinic: "), "name of the sender")
	require.Contains(t, texts[0].Body, "202-555-0142", "and contact")
	require.LessOrEqual(t, sms.Septets(texts[0].Body), 160)

	r.Clock.Advance(25 * time.Hour)
	require.NoError(t, p.send(mobile))
	_, err := r.sms.RevokeConsent(p.ctx(), p.Caller, consent.ID, false)
	require.NoError(t, err)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "what was queued before the consent ended is not sent")
	require.ErrorContains(t, p.send(mobile), "CONSENT_MISSING")
	list, _, err := r.sms.Messages(p.ctx(), p.Caller, uuid.Nil, 10)
	require.NoError(t, err)
	require.Equal(t, store.TextWithheld, list[0].State)
	require.Equal(t, "CONSENT_MISSING", list[0].Reason)
	require.NotContains(t, r.dump(), mobile[1:])

	future := r.Clock.Now().Add(time.Hour)
	_, err = r.sms.RecordConsent(p.ctx(), p.Caller, outbound.Agreement{Number: mobile, Category: 1, Source: 2, Given: &future})
	require.Error(t, err, "a consent that was not given yet")
}

func TestDMD29_NoCampaignNoMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p, other := r.practice("+12025550142"), r.practice("+12025550143")
	p.agree(mobile, store.CategoryAppointments)
	for name, campaign := range map[string]uuid.UUID{"none": uuid.Nil, "unknown": uuid.Must(uuid.NewV7()), "another practice's": other.campaign.ID} {
		_, err := r.sms.Send(p.ctx(), p.Caller, outbound.Draft{Number: mobile, Campaign: campaign, Template: "APPOINTMENT_REMINDER"})
		require.ErrorContains(t, err, "CAMPAIGN_MISSING", name)
	}
	for _, template := range []string{sms.TemplateCode, sms.TemplateStopped, sms.TemplateHelp, "NONE"} {
		_, err := r.sms.Send(p.ctx(), p.Caller, outbound.Draft{Number: mobile, Campaign: p.campaign.ID, Template: template})
		require.ErrorContains(t, err, "TEMPLATE_UNKNOWN", template)
	}
	_, err := r.sms.Send(p.ctx(), p.Caller, outbound.Draft{
		Number: mobile, Campaign: p.campaign.ID, Template: "APPOINTMENT_REMINDER", Params: map[string]string{"name": "John"},
	})
	require.ErrorContains(t, err, "PARAMETERS_INVALID")
	for _, sender := range []string{other.campaign.Sender, testkit.SMSFrom} {
		_, err := r.sms.CreateCampaign(p.ctx(), p.Caller, store.Campaign{Registration: "C2ABCDE", Sender: sender, Brand: "B", Contact: "202-555-0142"})
		require.ErrorContains(t, err, "SENDER_TAKEN", "replies to a number are one practice's to read")
	}
	require.NoError(t, p.send(mobile))
}

// The limits of the exemption for healthcare: one message a day and three a week.
func TestDMD29_OneMessageADayAndThreeAWeek(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.practice("+12025550142")
	p.agree(mobile, store.CategoryAppointments)
	p.agree(mobile, store.CategoryCare)
	require.NoError(t, p.send(mobile))
	r.Clock.Advance(24*time.Hour - time.Second)
	require.ErrorContains(t, p.send(mobile), "DAILY_LIMIT")
	_, err := r.sms.Send(p.ctx(), p.Caller, outbound.Draft{
		Number: mobile, Campaign: p.campaign.ID, Template: "CALL_BACK", Params: map[string]string{"hours": "8-17"},
	})
	require.ErrorContains(t, err, "DAILY_LIMIT", "whatever the category")
	r.Clock.Advance(time.Second)
	require.NoError(t, p.send(mobile))
	r.Clock.Advance(24 * time.Hour)
	require.NoError(t, p.send(mobile))
	r.Clock.Advance(24 * time.Hour)
	require.ErrorContains(t, p.send(mobile), "WEEKLY_LIMIT")
	r.Clock.Advance(4*24*time.Hour - time.Second)
	require.ErrorContains(t, p.send(mobile), "WEEKLY_LIMIT")
	r.Clock.Advance(time.Second)
	require.NoError(t, p.send(mobile))

	// In a race too; and a repeated request is one message.
	number, request := "+12025550124", uuid.New()
	p.agree(number, store.CategoryAppointments)
	var sent atomic.Int32
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			if p.send(number) == nil {
				sent.Add(1)
			}
		})
	}
	work.Wait()
	require.EqualValues(t, 1, sent.Load())
	r.Clock.Advance(25 * time.Hour)
	draft := outbound.Draft{Number: number, Campaign: p.campaign.ID, Template: "APPOINTMENT_REMINDER", Request: &request}
	first, err := r.sms.Send(p.ctx(), p.Caller, draft)
	require.NoError(t, err)
	again, err := r.sms.Send(p.ctx(), p.Caller, draft)
	require.NoError(t, err)
	require.Equal(t, first, again)
	r.work()
	require.Len(t, r.phone.Texts(number), 1, "the first was too old to be of use")
}
