package inbox

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	phone      = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

// twilioError is the shape in which Twilio's API refuses a request.
type twilioError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Status  int    `json:"status"`
}

// postSMS takes a text message the way Twilio's Messages resource does: a form
// with To, From and Body, and the account as user of basic authentication.
func postSMS(b *box, w http.ResponseWriter, r *http.Request) {
	account := r.PathValue("account")
	user, token, ok := r.BasicAuth()
	if !accountSID.MatchString(account) || !ok || user != account || token == "" {
		refuse(w, http.StatusUnauthorized, 20003, "Authenticate: send the account SID and a token by basic authentication")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, 21620, "Send a form of at most 64 KiB")
		return
	}
	to, from, text := r.PostForm.Get("To"), r.PostForm.Get("From"), r.PostForm.Get("Body")
	switch {
	case !phone.MatchString(to):
		refuse(w, http.StatusBadRequest, 21211, "Invalid 'To' phone number: write it as +15551234567")
		return
	case from == "" || len(from) > 64:
		refuse(w, http.StatusBadRequest, 21603, "A 'From' phone number is required")
		return
	case strings.TrimSpace(text) == "":
		refuse(w, http.StatusBadRequest, 21602, "Message body is required")
		return
	case utf8.RuneCountInString(text) > MaxSMSRunes:
		refuse(w, http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit")
		return
	}
	m, err := b.add(Message{Kind: "sms", From: tidy(from), To: []string{to}, Text: tidy(text)})
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, 20503, "The message could not be kept, try again")
		return
	}
	answer(w, http.StatusCreated, map[string]any{
		"sid": "SM" + strings.ReplaceAll(m.ID, "-", ""), "account_sid": account, "status": "queued", "direction": "outbound-api",
		"to": to, "from": from, "body": text, "date_created": m.Received.Format(time.RFC1123Z), "error_code": nil, "error_message": nil,
	})
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	answer(w, status, twilioError{Code: code, Message: message, Status: status})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The client is gone when this fails; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}
