package evidence

import (
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// ReasonSealBroken is the reason of a document whose seal did not open: it was
// changed outside carekeep (claim DH-17).
const ReasonSealBroken = "SEAL_BROKEN"

// actionRisk is the risk of each action that succeeds. An action that is missing
// here counts as HIGH; a test keeps the list complete (claim DH-35).
var actionRisk = map[accessv1.Action]auditv1.Risk{
	// A call to a method that no service offers has no action.
	accessv1.Action_ACTION_UNSPECIFIED: auditv1.Risk_RISK_MEDIUM,

	accessv1.Action_ACTION_READ:     auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_LIST:     auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_SEARCH:   auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_SIGN_IN:  auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_SIGN_OUT: auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_ADMIT:    auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_VERIFY:   auditv1.Risk_RISK_LOW,

	accessv1.Action_ACTION_MESSAGE_SEND: auditv1.Risk_RISK_LOW,

	accessv1.Action_ACTION_KEY_UNWRAP:     auditv1.Risk_RISK_LOW,
	accessv1.Action_ACTION_CREATE:         auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_UPDATE:         auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_DELETE:         auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_IMPORT:         auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_FACTOR_CHANGE:  auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_SESSION_CHANGE: auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_KEY_CREATE:     auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_BACKUP:         auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_CONSENT_CHANGE: auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_BLOCK_CHANGE:   auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_DEVICE_CHANGE:  auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_CERTIFY:        auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_KEY_ROTATE:     auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_KEY_REWRAP:     auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_KEY_RESEAL:     auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_RIGHTS_CHANGE:  auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_DISCLOSE:       auditv1.Risk_RISK_MEDIUM,

	accessv1.Action_ACTION_ROLE_CHANGE: auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_EXPORT:      auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_RESTORE:     auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_KEY_DESTROY: auditv1.Risk_RISK_HIGH,

	accessv1.Action_ACTION_GRANT_CHANGE:   auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_POLICY_CHANGE:  auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_ACCOUNT_CHANGE: auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_ALERT:          auditv1.Risk_RISK_HIGH,

	accessv1.Action_ACTION_RETAIN:         auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_HOLD_CHANGE:    auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_ERASE:          auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_ERASURE_CHANGE: auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_EXIT:           auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_BREAK_GLASS:    auditv1.Risk_RISK_HIGH,
	accessv1.Action_ACTION_GLASS_REVIEW:   auditv1.Risk_RISK_HIGH,

	accessv1.Action_ACTION_INCIDENT_CHANGE: auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_REFERRAL_CHANGE: auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_LOG_REVIEW:      auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_WATCH_CHANGE:    auditv1.Risk_RISK_HIGH,

	accessv1.Action_ACTION_RULES_TEST: auditv1.Risk_RISK_MEDIUM,
	accessv1.Action_ACTION_CONTAIN:    auditv1.Risk_RISK_HIGH,
}

// RiskOf classifies an event into one of four levels (claim DH-35). Broken seals
// are critical; refusals and failed sign-ins are at least medium; the rest goes by action.
func RiskOf(a accessv1.Action, o auditv1.Outcome, reason string) auditv1.Risk {
	if reason == ReasonSealBroken {
		return auditv1.Risk_RISK_CRITICAL
	}
	risk, known := actionRisk[a]
	if !known {
		risk = auditv1.Risk_RISK_HIGH
	}
	refused := o == auditv1.Outcome_OUTCOME_DENIED ||
		(o != auditv1.Outcome_OUTCOME_OK && a == accessv1.Action_ACTION_SIGN_IN)
	if refused {
		return max(risk, auditv1.Risk_RISK_MEDIUM)
	}
	return risk
}
