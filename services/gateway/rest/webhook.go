package rest

import (
	"bytes"
	"io"
	"net/http"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// The route of the provider of text messages. It is written by hand because it takes
// a form, byte for byte as it was signed, and answers in XML; it is no part of the API
// that clients use, and so not in its document.
const (
	webhookPath     = "/v1/messages:receiveSms"
	signatureHeader = "X-Twilio-Signature"
	typeForm        = "application/x-www-form-urlencoded"
	formBytes       = 64 << 10
)

var webhookRoute = Route{
	Method: http.MethodPost, Template: webhookPath, RPC: authv1.MessageService_ReceiveSms_FullMethodName,
	Service: accessv1.Service_SERVICE_AUTH, Anonymous: true,
}

// webhook hands replies to auth, which checks their signature.
type webhook struct{ messages authv1.MessageServiceClient }

func (h *webhook) serve(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	form, err := io.ReadAll(r.Body) // readForm has it in memory
	if err != nil {
		Fail(w, r, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error"))
		return
	}
	if _, err := h.messages.ReceiveSms(r.Context(), &authv1.ReceiveSmsRequest{Form: form, Signature: r.Header.Get(signatureHeader)}); err != nil {
		Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	// Answers go out through the queue, each once. A provider that is gone asks again.
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`)
}

// readForm is readBody for a form.
func readForm(w http.ResponseWriter, r *http.Request, limits edge.Limits) error {
	if err := checkType(r, typeForm); err != nil {
		return err
	}
	data, err := readInTime(w, r, limits, formBytes)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return nil
}
