package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

type messageHandlers struct {
	authv1.UnimplementedMessageServiceServer
	receive func(*authv1.ReceiveSmsRequest) error
}

func (h *messageHandlers) ReceiveSms(_ context.Context, r *authv1.ReceiveSmsRequest) (*authv1.ReceiveSmsResponse, error) {
	return &authv1.ReceiveSmsResponse{}, h.receive(r)
}

// The provider's form reaches auth byte for byte, for its signature covers it, and
// the answer is XML that sends nothing: answers go through the queue.
func TestDMD28_TheWebhookPassesTheSignedFormOn(t *testing.T) {
	s := newSuite(t)
	var got []*authv1.ReceiveSmsRequest
	s.messages.receive = func(r *authv1.ReceiveSmsRequest) error {
		if r.GetSignature() != "c2lnbmVk" {
			return errs.New(errs.KindUnauthenticated, "SIGNATURE_WRONG", "the signature is wrong")
		}
		got = append(got, r)
		return nil
	}
	const path, form = "/v1/messages:receiveSms", "Body=Stop+%26+go&From=%2B12025550123&Body=2"
	post := func(body, kind, signature string) answer {
		return s.call("POST", path, body, "Authorization", "", "Content-Type", kind, "X-Twilio-Signature", signature)
	}
	const kind = "application/x-www-form-urlencoded; charset=UTF-8"
	a := post(form, kind, "c2lnbmVk")
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, "text/xml; charset=utf-8", a.header.Get("Content-Type"))
	require.Equal(t, `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`, string(a.body))
	require.Len(t, got, 1)
	require.Equal(t, form, string(got[0].GetForm()))

	a = post(form, kind, "")
	require.Equal(t, 401, a.status)
	require.Equal(t, "SIGNATURE_WRONG", a.reason(t))
	a = post(`{"form":"x"}`, "application/json", "c2lnbmVk")
	require.Equal(t, "BODY_TYPE_UNSUPPORTED", a.reason(t))
	a = post("a="+strings.Repeat("x", 64<<10), kind, "c2lnbmVk")
	require.Equal(t, "BODY_TOO_LARGE", a.reason(t))
	a = s.call("POST", path+"?x=1", form, "Content-Type", kind, "X-Twilio-Signature", "c2lnbmVk")
	require.Equal(t, "PARAMETER_UNKNOWN", a.reason(t))
	require.Len(t, got, 1, "nothing else reached auth")
	require.NotContains(t, s.logs.String(), "12025550123")
}
