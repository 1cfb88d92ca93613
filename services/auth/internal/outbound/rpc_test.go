package outbound_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// The whole way over gRPC, with the worker running: from a campaign to a STOP.
func TestDMD26_FromConsentToStopOverGRPC(t *testing.T) {
	t.Parallel()
	phone := testkit.NewPhone(t)
	w := testkit.New(t, phone.Use)
	admin := w.NewPractice(w.Superadmin(), "ada")
	api := authv1.NewMessageServiceClient(w.Auth.Dial("gateway"))

	campaign, err := api.CreateCampaign(admin.Context(), &authv1.CreateCampaignRequest{
		Registration: "C1ABCDE", Sender: "+12025550142", Brand: "Smith Clinic", Contact: "202-555-0142",
	})
	require.NoError(t, err)
	templates, err := api.ListMessageTemplates(admin.Context(), &authv1.ListMessageTemplatesRequest{})
	require.NoError(t, err)
	require.Len(t, templates.GetTemplates(), len(sms.PatientTemplates()))
	send := &authv1.SendSmsRequest{Number: mobile, Campaign: campaign.GetName(), Template: "APPOINTMENT_REMINDER"}
	_, err = api.SendSms(admin.Context(), send)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, "CONSENT_MISSING", errs.ReasonOf(err))
	_, err = api.RecordConsent(admin.Context(), &authv1.RecordConsentRequest{
		Number: mobile, Category: authv1.MessageCategory_MESSAGE_CATEGORY_CODES, Source: authv1.ConsentSource_CONSENT_SOURCE_WRITTEN,
	})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "codes are agreed to by enrolling")
	_, err = api.RecordConsent(admin.Context(), &authv1.RecordConsentRequest{
		Number: mobile, Category: authv1.MessageCategory_MESSAGE_CATEGORY_APPOINTMENTS, Source: authv1.ConsentSource_CONSENT_SOURCE_WRITTEN,
	})
	require.NoError(t, err)
	queued, err := api.SendSms(admin.Context(), send)
	require.NoError(t, err)
	require.Equal(t, campaign.GetName(), queued.GetCampaign())
	require.Contains(t, phone.Text(mobile, 1).Body, "Smith Clinic: a reminder")
	require.Eventually(t, func() bool {
		list, err := api.ListMessages(admin.Context(), &authv1.ListMessagesRequest{})
		return err == nil && list.GetMessages()[0].GetState() == authv1.MessageState_MESSAGE_STATE_SENT
	}, 10*time.Second, 100*time.Millisecond)

	nurse := w.NewUser(admin, "nora", accessv1.RoleKind_ROLE_KIND_STAFF, "nurse")
	_, err = api.ListReviews(nurse.Context(), &authv1.ListReviewsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = api.ReceiveSms(w.Context(), &authv1.ReceiveSmsRequest{Form: []byte("Body=STOP"), Signature: "x"})
	require.Equal(t, "SIGNATURE_WRONG", errs.ReasonOf(err))
	form, signature := phone.Reply(mobile, "+12025550142", "Stop.")
	_, err = api.ReceiveSms(w.Context(), &authv1.ReceiveSmsRequest{Form: form, Signature: signature})
	require.NoError(t, err)
	require.Contains(t, phone.Text(mobile, 2).Body, "you have opted out")
	list, err := api.ListConsents(nurse.Context(), &authv1.ListConsentsRequest{Number: mobile})
	require.NoError(t, err)
	require.True(t, list.GetOptedOut())
	require.NotNil(t, list.GetConsents()[0].GetRevokeTime())
	require.NotContains(t, w.Log.String(), mobile[1:])
}
