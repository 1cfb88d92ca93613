package siem_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/golden"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/siem"
)

var at = timestamppb.New(time.Date(2026, 3, 1, 13, 4, 22, 123_456_000, time.UTC))

func entry(seq int64, mods ...func(*auditv1.Event)) *auditv1.Entry {
	e := &auditv1.Event{
		EventId: "0194c9a0-0000-7000-8000-000000000001", EventTime: at, PracticeId: "0194c9a0-0000-7000-8000-00000000000a",
		UserId: "0194c9a0-0000-7000-8000-000000000051", Username: "dr.smith", SessionId: "0194c9a0-0000-7000-8000-000000000077",
		Service: accessv1.Service_SERVICE_RECORDS, Method: "/carekeep.records.v1.RecordsService/GetPatient",
		Caller: accessv1.Service_SERVICE_GATEWAY, Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK,
		PatientId: "0194c9a0-0000-7000-8000-0000000000f1", Risk: auditv1.Risk_RISK_LOW, Address: "192.0.2.7",
	}
	for _, mod := range mods {
		mod(e)
	}
	return &auditv1.Entry{Seq: seq, Event: e, LeafHash: bytes.Repeat([]byte{7}, 32), Line: evidence.Line(e), AppendTime: at}
}

// samples are one entry of each kind, a hostile one among them.
func samples() []*auditv1.Entry {
	return []*auditv1.Entry{
		entry(0),
		entry(1, func(e *auditv1.Event) {
			e.Action, e.Outcome, e.Reason, e.Risk = accessv1.Action_ACTION_SIGN_IN, auditv1.Outcome_OUTCOME_FAILED, "PASSWORD_WRONG", auditv1.Risk_RISK_MEDIUM
			e.PatientId, e.UserId, e.SessionId, e.Address = "", "", "", "2001:db8::7"
			e.Username = "eve|x=1\\\r\nCEF:0|forged\u2028\u202e"
			e.Service, e.Method = accessv1.Service_SERVICE_AUTH, "/carekeep.auth.v1.AuthService/SignIn"
		}),
		entry(2, func(e *auditv1.Event) {
			e.Action, e.Risk, e.Resource, e.Count = accessv1.Action_ACTION_EXPORT, auditv1.Risk_RISK_HIGH, "rightsRequests/1", 12
			e.DeviceId, e.CallId, e.WithheldFields = "0194c9a0-0000-7000-8000-000000000099", []byte("0123456789abcdef"), []string{"Patient.phone"}
		}),
		entry(3, func(e *auditv1.Event) {
			e.Action, e.Outcome, e.Reason, e.Risk = accessv1.Action_ACTION_VERIFY, auditv1.Outcome_OUTCOME_FAILED, "MESSAGE_PARKED", auditv1.Risk_RISK_CRITICAL
			e.Service, e.Method, e.Caller = accessv1.Service_SERVICE_AUDIT, "jobs/Append", 0
			e.PracticeId, e.PatientId, e.UserId, e.Username, e.SessionId, e.Address = "", "", "", "", "", ""
		}),
	}
}

func TestDH38_GoldenLinesOfEveryFormat(t *testing.T) {
	t.Parallel()
	for format, name := range auditv1.EventFormat_name {
		if format == 0 {
			continue
		}
		write, err := siem.Of(auditv1.EventFormat(format))
		require.NoError(t, err)
		var lines []string
		for _, e := range samples() {
			line, err := write(e)
			require.NoError(t, err)
			lines = append(lines, string(line))
		}
		golden.Lines(t, strings.ToLower(strings.TrimPrefix(name, "EVENT_FORMAT_")), lines)
	}
	_, err := siem.Of(99)
	require.Error(t, err)
}

// cefForm reads a CEF line by the format's own rules of escaping.
var (
	cefForm  = regexp.MustCompile(`^CEF:0((?:\|(?:[^|\\]|\\[\\|])*){6})\|(.*)$`)
	cefField = regexp.MustCompile(`(?:^| )([A-Za-z0-9]+)=((?:[^=\\]|\\[\\=rn])*?)(?: [A-Za-z0-9]+=|$)`)
)

// cefValue is the value of a key of a line, without its escapes.
func cefValue(t require.TestingT, line, key string) string {
	m := cefForm.FindStringSubmatch(line)
	require.NotNil(t, m, "%q", line)
	for rest := m[2]; rest != ""; {
		f := cefField.FindStringSubmatchIndex(rest)
		require.NotNil(t, f, "%q", rest)
		if rest[f[2]:f[3]] == key {
			return strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\r`, "\r", `\n`, "\n").Replace(rest[f[4]:f[5]])
		}
		rest = strings.TrimPrefix(rest[f[5]:], " ")
	}
	return ""
}

// Whatever a name holds, it stays one value of one line in every format.
func TestDH38_NamesCannotForgeLinesOrFields(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringOf(rapid.RuneFrom([]rune("|=\\\r\n {}u a\u2028\u0085\x00"))), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		name := text.Draw(t, "name")
		e := entry(7, func(e *auditv1.Event) { e.Username, e.Reason = name, name })
		for format := range auditv1.EventFormat_name {
			if format == 0 {
				continue
			}
			write, err := siem.Of(auditv1.EventFormat(format))
			require.NoError(t, err)
			line, err := write(e)
			require.NoError(t, err)
			require.False(t, strings.ContainsAny(string(line), "\r\n\x00\u2028"), "%q", line)
			switch auditv1.EventFormat(format) {
			case auditv1.EventFormat_EVENT_FORMAT_CEF:
				require.Equal(t, "0194c9a0-0000-7000-8000-0000000000f1", cefValue(t, string(line), "cs2"))
				if !strings.ContainsAny(name, "\x00\u2028\u0085") && regexp.MustCompile(`^[ -~\r\n]*$`).MatchString(name) {
					require.Equal(t, name, cefValue(t, string(line), "suser"))
				}
			case auditv1.EventFormat_EVENT_FORMAT_OCSF:
				var x struct {
					Actor struct{ User struct{ Name string } }
				}
				require.NoError(t, json.Unmarshal(line, &x))
				require.Equal(t, name, x.Actor.User.Name)
			case auditv1.EventFormat_EVENT_FORMAT_JSON:
				var x struct{ Event struct{ Username string } }
				require.NoError(t, json.Unmarshal(line, &x))
				require.Equal(t, name, x.Event.Username)
			}
		}
	})
}
