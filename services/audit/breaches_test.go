package main

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/breach"
)

// pack is a breach pack and the clients of two officers.
type pack struct {
	*room
	breaches auditv1.BreachServiceClient
	incident string
}

func newPack(t *testing.T) *pack {
	t.Helper()
	d := newRoom(t)
	conn, err := identity(t, "gateway").Dial(d.replica.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &pack{room: d, breaches: auditv1.NewBreachServiceClient(conn), incident: d.open(auditv1.Risk_RISK_HIGH).GetName()}
}

// by is the context of an officer of practice A.
func (p *pack) by(user uuid.UUID) context.Context {
	return asUser(p.t, user, practiceA, p.now(), accessv1.Permission_PERMISSION_BREACHES_READ, accessv1.Permission_PERMISSION_BREACHES_MANAGE,
		accessv1.Permission_PERMISSION_BREACHES_SIGN, accessv1.Permission_PERMISSION_BREACHES_NOTIFY)
}

func (p *pack) one() context.Context { return p.by(officer) }

// begin opens a breach that was discovered today, of a session that opened two charts.
func (p *pack) begin(aware time.Time) string {
	p.t.Helper()
	records := p.producer("records")
	records.await(records.send(
		opening(sessionX, patient1, getPatient, "patients/"+patient1.String()), opening(sessionX, patient2, getNote, "notes/1"),
		opening(sessionY, patient3, getNote, "notes/2")))
	r := &auditv1.OpenBreachRequest{
		Incident: p.incident, DiscoveryDate: p.now().UTC().Format(time.DateOnly), OccurrenceDate: "2026-01-02", TimeZone: "UTC",
		Type: "theft", Locations: []string{"laptop"},
	}
	if !aware.IsZero() {
		r.AwareTime = timestamppb.New(aware)
	}
	b, err := p.breaches.OpenBreach(p.one(), r)
	require.NoError(p.t, err)
	return b.GetName()
}

func (p *pack) collect(name string) *auditv1.Breach {
	p.t.Helper()
	b, err := p.breaches.CollectRecipients(p.one(), &auditv1.CollectRecipientsRequest{Name: name, Query: &auditv1.RadiusQuery{SessionId: sessionX.String()}})
	require.NoError(p.t, err)
	return b
}

func wholeLetter() *auditv1.LetterElements {
	return &auditv1.LetterElements{
		WhatHappened: "A laptop was stolen.", KindsOfData: "Names and notes.", ProtectiveSteps: "Look at your statements.",
		Measures: "We encrypt all disks.", Contact: "Call 0800 000 000.",
	}
}

func (p *pack) write(name string) {
	p.t.Helper()
	_, err := p.breaches.WriteLetter(p.one(), &auditv1.WriteLetterRequest{Name: name, Elements: wholeLetter()})
	require.NoError(p.t, err)
}

func (p *pack) deliver(name string, patient uuid.UUID, kind auditv1.Delivery_Kind) error {
	_, err := p.breaches.RecordDelivery(p.one(), &auditv1.RecordDeliveryRequest{
		Name: name, Patient: "patients/" + patient.String(), Kind: kind, Proof: "RR123456789US",
	})
	return err
}

func TestDMD23_LettersHaveAllFiveElementsAndEachHasItsProof(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	name := p.begin(time.Time{})
	require.Equal(t, "LETTER_MISSING", errs.ReasonOf(p.deliver(name, patient1, auditv1.Delivery_KIND_SENT)))
	for n, cut := range []func(*auditv1.LetterElements){
		func(e *auditv1.LetterElements) { e.WhatHappened = "" }, func(e *auditv1.LetterElements) { e.KindsOfData = " \n" },
		func(e *auditv1.LetterElements) { e.ProtectiveSteps = "" }, func(e *auditv1.LetterElements) { e.Measures = "" },
		func(e *auditv1.LetterElements) { e.Contact = "" },
	} {
		e := wholeLetter()
		cut(e)
		_, err := p.breaches.WriteLetter(p.one(), &auditv1.WriteLetterRequest{Name: name, Elements: e})
		require.Equal(t, "LETTER_INCOMPLETE", errs.ReasonOf(err), "element %d", n)
	}
	p.write(name)
	a, err := p.breaches.RenderLetter(p.one(), &auditv1.RenderLetterRequest{Name: name, PracticeName: "Northside Clinic"})
	require.NoError(t, err)
	for _, part := range []string{"Northside Clinic", "A laptop was stolen.", "2026-01-02", "Names and notes.", "Look at your statements.", "We encrypt all disks.", "0800 000 000"} {
		require.Contains(t, a.GetText(), part)
	}
	b, err := p.breaches.RenderLetter(p.one(), &auditv1.RenderLetterRequest{Name: name, PracticeName: "Southside Clinic"})
	require.NoError(t, err)
	require.Equal(t, strings.Replace(a.GetText(), "Northside", "Southside", 1), b.GetText())

	require.EqualValues(t, 2, p.collect(name).GetRecipients())
	require.EqualValues(t, 2, p.collect(name).GetRecipients(), "nobody is told twice")
	require.Equal(t, "RECIPIENT_NOT_FOUND", errs.ReasonOf(p.deliver(name, patient3, auditv1.Delivery_KIND_SENT)))
	_, err = p.breaches.RecordDelivery(p.one(), &auditv1.RecordDeliveryRequest{Name: name, Patient: "patients/" + patient1.String(), Kind: auditv1.Delivery_KIND_SENT})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "a letter without proof")
	require.NoError(t, p.deliver(name, patient1, auditv1.Delivery_KIND_SENT))
	require.NoError(t, p.deliver(name, patient2, auditv1.Delivery_KIND_SENT))
	require.NoError(t, p.deliver(name, patient2, auditv1.Delivery_KIND_RETURNED))
	now, err := p.breaches.GetBreach(p.one(), &auditv1.GetBreachRequest{Name: name})
	require.NoError(t, err)
	require.EqualValues(t, 1, now.GetDeliveries().GetSent())
	require.EqualValues(t, 1, now.GetDeliveries().GetUnreachable())
	require.Nil(t, now.GetDeadlines()[0].GetDoneTime(), "a letter came back")
	page, err := p.breaches.ListRecipients(p.one(), &auditv1.ListRecipientsRequest{Name: name, PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, "patients/"+patient1.String(), page.GetRecipients()[0].GetPatient())
	page, err = p.breaches.ListRecipients(p.one(), &auditv1.ListRecipientsRequest{Name: name, PageSize: 1, PageToken: page.GetNextPageToken()})
	require.NoError(t, err)
	require.Empty(t, page.GetNextPageToken())
	require.Len(t, page.GetRecipients()[0].GetDeliveries(), 2)
	require.Equal(t, "RR123456789US", page.GetRecipients()[0].GetDeliveries()[1].GetProof())

	var clear int
	require.NoError(t, p.as("").QueryRow(t.Context(), `SELECT (SELECT count(*) FROM breach_steps s WHERE s::text ~ 'laptop was|Names') +
		(SELECT count(*) FROM breach_deliveries d WHERE d::text ~ 'RR1234')`).Scan(&clear))
	require.Zero(t, clear, "what people wrote is sealed")
	var spared int
	require.NoError(t, p.as("").QueryRow(t.Context(), "SELECT count(*) FROM incident_evidence").Scan(&spared))
	require.Equal(t, 1, spared, "retention spares what the recipients follow from")
}

func TestDMD24_TheFormOfHHSAndItsReceipt(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	name := p.begin(time.Time{})
	form, err := p.breaches.GetHhsForm(p.one(), &auditv1.GetHhsFormRequest{Name: name})
	require.NoError(t, err)
	require.Len(t, form.GetMissing(), 3)
	p.collect(name)
	p.write(name)
	require.NoError(t, p.deliver(name, patient1, auditv1.Delivery_KIND_SENT))
	_, err = p.breaches.RecordNotification(p.one(), &auditv1.RecordNotificationRequest{Name: name, Kind: auditv1.Deadline_KIND_HHS, Receipt: "HHS-4711"})
	require.NoError(t, err)
	_, err = p.breaches.RecordNotification(p.one(), &auditv1.RecordNotificationRequest{Name: name, Kind: auditv1.Deadline_KIND_MEDIA, State: "CA", Receipt: "x"})
	require.Equal(t, "BREACH_NOT_DUE", errs.ReasonOf(err))
	form, err = p.breaches.GetHhsForm(p.one(), &auditv1.GetHhsFormRequest{Name: name})
	require.NoError(t, err)
	require.Empty(t, form.GetMissing())
	raw, err := protojson.Marshal(form)
	require.NoError(t, err)
	for _, part := range []string{`"fewer-than-500"`, `"HHS-4711"`, `"theft"`, `"laptop"`, `"A laptop was stolen."`} {
		require.Contains(t, string(raw), part)
	}
}

func TestDMD22_DeadlinesEscalateOnDays30And50And59(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	start := p.now().UTC().Truncate(24 * time.Hour)
	name := p.begin(time.Time{})
	p.collect(name)
	told := func(day int, before time.Duration) (details []string) {
		p.at(start, time.Duration(day)*24*time.Hour-before)
		require.NoError(t, p.replica.breaches.Sweep(t.Context()))
		b, err := p.breaches.GetBreach(p.one(), &auditv1.GetBreachRequest{Name: name})
		require.NoError(t, err)
		for _, n := range b.GetNotices() {
			if strings.HasPrefix(n.GetDetail(), "INDIVIDUALS") {
				details = append(details, n.GetReason())
			}
		}
		return details
	}
	due := []string{breach.ReasonDue, breach.ReasonDue, breach.ReasonDue, breach.ReasonOverdue}
	for _, c := range []struct{ day, want int }{{30, 1}, {50, 2}, {59, 3}, {61, 4}} {
		require.Len(t, told(c.day, 10*time.Second), c.want-1, "before day %d", c.day)
		require.Equal(t, due[:c.want], told(c.day, 0), "on day %d", c.day)
	}
	require.Contains(t, p.alerts(practiceA), breach.ReasonOverdue)
	b, err := p.breaches.GetBreach(p.one(), &auditv1.GetBreachRequest{Name: name})
	require.NoError(t, err)
	require.True(t, b.GetDeadlines()[0].GetLate())
}

func TestDC24_TheICOWithin72HoursAndLaterWithReasons(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	aware := p.now()
	name := p.begin(aware)
	request := &auditv1.RecordNotificationRequest{Name: name, Kind: auditv1.Deadline_KIND_ICO, Receipt: "ICO-1"}
	p.at(aware, 72*time.Hour+time.Minute)
	_, err := p.breaches.RecordNotification(p.one(), request)
	require.Equal(t, "BREACH_REASONS_REQUIRED", errs.ReasonOf(err))
	request.Reasons = "The office was closed."
	b, err := p.breaches.RecordNotification(p.one(), request)
	require.NoError(t, err)
	for _, d := range b.GetDeadlines() {
		if d.GetKind() == auditv1.Deadline_KIND_ICO {
			require.True(t, d.GetLate())
			require.NotNil(t, d.GetDoneTime())
		}
	}
	require.Contains(t, b.GetSteps()[len(b.GetSteps())-1].GetText(), "The office was closed.")
}

func TestDC24_AnAssessmentNeedsEachFactorOrEvidence(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	name := p.begin(time.Time{})
	require.Equal(t, "BREACH_NOT_TOLD", errs.ReasonOf(p.end(name)), "it is presumed to be one")
	f := func(text string) *auditv1.Factor { return &auditv1.Factor{Low: true, Finding: text} }
	assess := func(a *auditv1.Assessment) (*auditv1.Breach, error) {
		return p.breaches.AssessBreach(p.one(), &auditv1.AssessBreachRequest{Name: name, Assessment: a})
	}
	_, err := assess(&auditv1.Assessment{Nature: f("a"), Recipient: f("b"), Acquired: f("c"), Mitigated: f("")})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = assess(&auditv1.Assessment{EncryptionEvidence: &auditv1.EvidenceRange{FromSeq: 1 << 40, ToSeq: 1 << 40}})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "entries that are not there")
	_, err = assess(&auditv1.Assessment{EncryptionEvidence: &auditv1.EvidenceRange{ToSeq: math.MaxInt64}})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "more than there is")
	b, err := assess(&auditv1.Assessment{Nature: f("a"), Recipient: f("b"), Acquired: f("never viewed"), Mitigated: f("d")})
	require.NoError(t, err)
	require.False(t, b.GetNotifiable())
	require.Equal(t, "never viewed", b.GetAssessment().GetAcquired().GetFinding())
	require.NoError(t, p.end(name))
	require.Equal(t, "BREACH_CLOSED", errs.ReasonOf(p.end(name)))
}

func (p *pack) end(name string) error {
	_, err := p.breaches.CloseBreach(p.one(), &auditv1.CloseBreachRequest{Name: name})
	return err
}

func TestDMD22_TheSecondSignerIsAnotherPerson(t *testing.T) {
	t.Parallel()
	p := newPack(t)
	name := p.begin(time.Time{})
	p.at(time.Now(), 5*24*time.Hour)
	later := p.now().UTC().Format(time.DateOnly)
	b, err := p.breaches.MoveDiscovery(p.one(), &auditv1.MoveDiscoveryRequest{Name: name, DiscoveryDate: later, Text: "the log was read then"})
	require.NoError(t, err)
	require.Equal(t, later, b.GetProposedDiscoveryDate())
	require.NotEqual(t, later, b.GetDiscoveryDate())
	approve := &auditv1.ApproveDiscoveryRequest{Name: name, DiscoveryDate: later}
	_, err = p.breaches.ApproveDiscovery(p.one(), approve)
	require.Equal(t, "SECOND_SIGNER_REQUIRED", errs.ReasonOf(err))
	b, err = p.breaches.ApproveDiscovery(p.by(drSmith), approve)
	require.NoError(t, err)
	require.Equal(t, later, b.GetDiscoveryDate())
	_, err = p.breaches.GetBreach(asUser(t, officer, practiceB, p.now(), accessv1.Permission_PERMISSION_BREACHES_READ), &auditv1.GetBreachRequest{Name: name})
	require.Equal(t, codes.NotFound, status.Code(err))
	page, err := p.breaches.ListBreaches(p.one(), &auditv1.ListBreachesRequest{})
	require.NoError(t, err)
	require.Len(t, page.GetBreaches(), 1)
}
