package siem

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// cefSeverity is CEF's from 0 to 10: 0–3 low, 4–6 medium, 7–8 high, 9–10 very high.
var cefSeverity = map[auditv1.Risk]int{
	auditv1.Risk_RISK_LOW: 3, auditv1.Risk_RISK_MEDIUM: 5, auditv1.Risk_RISK_HIGH: 8, auditv1.Risk_RISK_CRITICAL: 10,
}

// CEF writes ArcSight's Common Event Format, revision 25:
//
//	CEF:0|vendor|product|version|signature|name|severity|key=value key=value …
func CEF(e *auditv1.Entry) ([]byte, error) {
	v := e.GetEvent()
	action := actionName(v.GetAction())
	var b strings.Builder
	fmt.Fprintf(&b, "CEF:0|%s|%s|%s|%s|%s|%d|", Vendor, Product, Version, cefHeader(action),
		cefHeader(action+" "+outcomeName(v.GetOutcome())), cefSeverity[v.GetRisk()])
	x := cefExtension{to: &b}
	x.add("rt", strconv.FormatInt(v.GetEventTime().AsTime().UnixMilli(), 10))
	x.add("externalId", strconv.FormatInt(e.GetSeq(), 10))
	x.add("act", action)
	x.add("outcome", outcomeName(v.GetOutcome()))
	x.add("reason", v.GetReason())
	x.add("suid", v.GetUserId())
	x.add("suser", v.GetUsername())
	if at, err := netip.ParseAddr(v.GetAddress()); err == nil && at.Unmap().Is4() {
		x.add("src", at.Unmap().String())
	} else {
		x.named("c6a2", "Source IPv6 Address", v.GetAddress())
	}
	x.add("deviceProcessName", serviceName(v.GetService()))
	x.add("request", v.GetMethod())
	x.named("cs1", "practice", v.GetPracticeId())
	x.named("cs2", "patient", v.GetPatientId())
	x.named("cs3", "session", v.GetSessionId())
	x.named("cs4", "resource", v.GetResource())
	x.named("cs5", "event", v.GetEventId())
	x.named("cs6", "leaf", hex.EncodeToString(e.GetLeafHash()))
	x.named("flexString1", "device", v.GetDeviceId())
	x.named("flexString2", "call", hex.EncodeToString(v.GetCallId()))
	if v.GetCount() > 0 {
		x.named("cn1", "count", strconv.Itoa(int(v.GetCount())))
	}
	return []byte(b.String()), nil
}

type cefExtension struct {
	to   *strings.Builder
	some bool
}

func (x *cefExtension) add(key, value string) {
	if value == "" {
		return
	}
	if x.some {
		x.to.WriteByte(' ')
	}
	x.some = true
	x.to.WriteString(key + "=" + cefValue(value))
}

// named writes one of the fields that carry their own name.
func (x *cefExtension) named(key, label, value string) {
	if value != "" {
		x.add(key, value)
		x.add(key+"Label", label)
	}
}

// cefHeader escapes what has a meaning in the header; a line break has no escape there.
func cefHeader(s string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`).Replace(visible(s, false))
}

// cefValue escapes what has a meaning in the extension.
func cefValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r", `\r`, "\n", `\n`).Replace(visible(s, true))
}

// visible writes characters that a reader would not see, or that end a line for some, as
// \u{hex}, and bytes that are no text as U+FFFD. Their backslash is escaped after that.
func visible(s string, breaks bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case breaks && (r == '\r' || r == '\n'), r == ' ', unicode.IsGraphic(r) && !unicode.IsSpace(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}
