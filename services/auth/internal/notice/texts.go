package notice

// Kind is what a notice tells its reader.
type Kind string

// The occasions on which a user is told, by mail, what happened to the account
// (ASVS 6.3.5 and 6.3.7). A kind without a text fails a test.
const (
	FactorAdded       Kind = "FACTOR_ADDED"
	FactorRemoved     Kind = "FACTOR_REMOVED"
	PasswordChanged   Kind = "PASSWORD_CHANGED"
	DeviceNew         Kind = "DEVICE_NEW"
	NetworkNew        Kind = "NETWORK_NEW"
	SharingSuspected  Kind = "SHARING_SUSPECTED"
	AccountClosed     Kind = "ACCOUNT_CLOSED"
	AccountFrozen     Kind = "ACCOUNT_FROZEN"
	AccountReopened   Kind = "ACCOUNT_REOPENED"
	RecoveryCodeUsed  Kind = "RECOVERY_CODE_USED"
	PasskeyCloned     Kind = "PASSKEY_CLONED"
	QRSignIn          Kind = "QR_SIGN_IN"
	EmailChanged      Kind = "EMAIL_CHANGED"
	AccountWillBeGone Kind = "ACCOUNT_WILL_BE_GONE"
	ActivityUnusual   Kind = "ACTIVITY_UNUSUAL"
	PracticeAlert     Kind = "PRACTICE_ALERT"
)

type text struct{ subject, body string }

// advice ends every notice. It links nowhere: a mail that teaches its readers to follow
// links teaches them to follow an attacker's.
const advice = `If this was you, there is nothing to do. If it was not, open carekeep as you usually do, report the account as
compromised, and tell your administrator.
`

// adviceAbout ends the notices that are not about the reader's own account.
var adviceAbout = map[Kind]string{
	PracticeAlert: `Look at the audit log, and at what was done about it, before you undo anything.
`,
}

var texts = map[Kind]text{
	FactorAdded:       {"A way to sign in was added", "A new way to sign in was added to your account: %s."},
	FactorRemoved:     {"A way to sign in was removed", "A way to sign in was removed from your account: %s."},
	PasswordChanged:   {"Your password was changed", "The password of your account was changed%s."},
	DeviceNew:         {"Sign-in from a new device", "Somebody signed in to your account from a device that was not used before%s."},
	NetworkNew:        {"Sign-in from a new network", "Somebody used your account from a network that was not used before%s."},
	SharingSuspected:  {"Your account is in use in two places", "Your account is in use on two devices that are far from each other%s. Never share your sign-in."},
	AccountClosed:     {"Your account was closed", "Too many sign-ins failed, so your account was closed%s. It opens again when you reset your password and give your second factor."},
	AccountFrozen:     {"Your account was frozen", "Your account was reported as compromised%s. All sessions were ended, and nobody can sign in until an administrator reopens it."},
	AccountReopened:   {"Your account was reopened", "Your account was reopened%s."},
	RecoveryCodeUsed:  {"A recovery code was used", "Somebody signed in to your account with a recovery code%s."},
	PasskeyCloned:     {"A passkey may have been copied", "One of your passkeys answered with an older counter than before; there may be a copy of it: %s."},
	QRSignIn:          {"Another device was signed in", "A phone that is signed in to your account let another device sign in%s."},
	EmailChanged:      {"Your mail address was changed", "The mail address of your account was changed%s. This message goes to the old one."},
	AccountWillBeGone: {"Your account will be removed", "Your account was not used for a long time and will be removed%s. Sign in to keep it."},
	ActivityUnusual:   {"Unusual activity in your account", "carekeep found something unusual in how your account is used: %s."},
	PracticeAlert:     {"Security alert", "A rule of carekeep found what an administrator has to look at: %s."},
}
