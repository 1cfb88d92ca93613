package rest

import (
	"net/http"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// The one resource below /fhir/R4 that is not of records: the audit log as AuditEvent. It takes
// searches alone, by POST as all of them are, and is asked for over gRPC.
const (
	auditEventPath   = fhirPath + "/AuditEvent"
	auditEventSearch = auditEventPath + "/_search"
)

type auditEvents struct {
	*passage
	reading auditv1.ReadingServiceClient
}

func (h *auditEvents) serve(w http.ResponseWriter, original, taken *http.Request) {
	if taken.URL.Path != auditEventSearch || taken.Method != http.MethodPost {
		h.refuse(w, taken, []string{http.MethodPost})
		return
	}
	edge.Of(taken.Context()).Route = auditEventSearch
	form, err := h.check(w, original, taken, false)
	if err == nil && len(form) > 0 {
		err = checkType(taken, typeForm)
	}
	if err == nil && checkText(form) != "" {
		err = errs.New(errs.KindInvalid, reasonBody, "the form is not valid UTF-8")
	}
	if err != nil {
		Fail(w, taken, err)
		return
	}
	answer, err := h.reading.SearchAuditEvents(taken.Context(), &auditv1.SearchAuditEventsRequest{Parameters: string(form)})
	if err != nil {
		Fail(w, taken, err)
		return
	}
	w.Header().Set("Content-Type", outcome.MediaType+"; charset=utf-8")
	_, _ = w.Write([]byte(answer.GetBundle())) //nolint:gosec // JSON with nosniff, in which <, > and & are escaped
}
