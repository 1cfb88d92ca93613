package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/method"
)

// Ceremony is what a challenge was made for. The numbers are stored.
type Ceremony int16

// The ceremonies.
const (
	Registering Ceremony = iota + 1
	SigningIn
	SteppingUp
)

// BeginCeremony keeps a challenge, in place of an earlier one of the same session and kind.
func (t *Tx) BeginCeremony(id uuid.UUID, kind Ceremony, session *uuid.UUID, challenge []byte) {
	if session != nil {
		t.exec("DELETE FROM ceremonies WHERE session_id = $1 AND kind = $2 AND practice_id = $3", *session, kind, t.practice)
	}
	t.exec(`INSERT INTO ceremonies (id, practice_id, kind, challenge, session_id, created)
		VALUES ($1, $2, $3, $4, $5, coalesce($6::timestamptz, clock_timestamp())) ON CONFLICT (session_id, kind)
		DO NOTHING`, id, t.practice, kind, challenge, session, t.at())
}

// TakeCeremony uses a challenge up and returns it. No row: it was used, has lapsed, or is another session's.
func (t *Tx) TakeCeremony(id uuid.UUID, kind Ceremony, session *uuid.UUID, life time.Duration) *Rows[[]byte] {
	return scalars[[]byte](t, `WITH taken AS (
			DELETE FROM ceremonies WHERE id = $1 AND kind = $2 AND session_id IS NOT DISTINCT FROM $3 AND practice_id = $4
			RETURNING challenge, created)
		SELECT challenge FROM taken WHERE created > coalesce($5::timestamptz, clock_timestamp()) - $6::interval`,
		id, kind, session, t.practice, t.at(), life)
}

// Handle returns what authenticators know the user by: fresh where there was nothing before.
func (t *Tx) Handle(user uuid.UUID, fresh []byte) *Rows[[]byte] {
	return scalars[[]byte](t, `UPDATE credentials SET handle = coalesce(handle, $3)
		WHERE user_id = $1 AND practice_id = $2 RETURNING handle`, user, t.practice, fresh)
}

// Passkey is a row of passkeys.
type Passkey struct {
	ID             uuid.UUID
	CredentialID   []byte
	BackupEligible bool
	BackedUp       bool
	Transports     []string
	DisplayName    string
	Version        int64
	Created        time.Time
	LastUse        *time.Time
}

const passkeyColumns = "id, credential_id, backup_eligible, backed_up, transports, display_name, version, created, last_use" //nolint:gosec // names columns, holds no credential

// Passkeys lists the user's passkeys, oldest first.
func (t *Tx) Passkeys(user uuid.UUID) *Rows[Passkey] {
	return query[Passkey](t, "SELECT "+passkeyColumns+" FROM passkeys WHERE user_id = $1 AND practice_id = $2 ORDER BY created, id",
		user, t.practice)
}

// NewPasskey is what it takes to keep a passkey.
type NewPasskey struct {
	ID             uuid.UUID
	User           uuid.UUID
	CredentialID   []byte
	PublicKey      []byte
	SignCount      int64
	BackupEligible bool
	BackedUp       bool
	Transports     []string
	DisplayName    string
}

// AddPasskey keeps a passkey. No row: the credential is somebody's already, or the
// user has as many as there may be. LockUser must come before it.
func (t *Tx) AddPasskey(p NewPasskey, most int) *Rows[Passkey] {
	return query[Passkey](t, `INSERT INTO passkeys
		(id, practice_id, user_id, credential_id, public_key, sign_count, backup_eligible, backed_up, transports, display_name, created)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11::timestamptz, clock_timestamp())
		WHERE (SELECT count(*) FROM passkeys WHERE user_id = $3 AND practice_id = $2) < $12
		ON CONFLICT (credential_id) DO NOTHING RETURNING `+passkeyColumns,
		p.ID, t.practice, p.User, p.CredentialID, p.PublicKey, p.SignCount, p.BackupEligible, p.BackedUp, p.Transports,
		p.DisplayName, t.at(), most)
}

// GainFactor is AddFactor where the factors are still those that were seen. No row: they are not.
func (t *Tx) GainFactor(user uuid.UUID, seen, m method.Set) *Rows[method.Set] {
	return scalars[method.Set](t, `UPDATE credentials SET factors = factors | $4
		WHERE user_id = $1 AND practice_id = $2 AND factors = $3 RETURNING factors`, user, t.practice, seen, m)
}

// PasskeyUser is a passkey with what it takes to verify an answer, and whose it is.
type PasskeyUser struct {
	ID             uuid.UUID
	User           uuid.UUID
	CredentialID   []byte
	PublicKey      []byte
	SignCount      int64
	BackupEligible bool
	Handle         []byte
	DisplayName    string
}

// PasskeyOf finds a credential across practices, and its user's account.
func (t *Tx) PasskeyOf(credential []byte) (*Rows[PasskeyUser], *Rows[SignIn]) {
	return query[PasskeyUser](t, "SELECT * FROM passkey_of($1)", credential),
		query[SignIn](t, "SELECT a.* FROM passkey_of($1) p, account_of(NULL, p.user_id) a", credential)
}

// UsePasskey notes that a passkey answered whose counter was seen before. No row: it, or the
// right to sign in, was taken away meanwhile, or it answered somebody else and counted on.
func (t *Tx) UsePasskey(p PasskeyUser, count int64, backedUp bool) *Rows[uuid.UUID] {
	return scalars[uuid.UUID](t, `UPDATE passkeys p SET sign_count = greatest(p.sign_count, $4), backed_up = $5,
		last_use = coalesce($6::timestamptz, clock_timestamp())
		FROM users u WHERE p.id = $1 AND p.user_id = $2 AND p.practice_id = $3 AND p.sign_count = $7
		AND u.id = p.user_id AND NOT u.disabled AND u.frozen IS NULL AND u.closed IS NULL RETURNING p.id`,
		p.ID, p.User, t.practice, count, backedUp, t.at(), p.SignCount)
}

// RenamePasskey changes a passkey's name. No row: there is none of that version.
func (t *Tx) RenamePasskey(id, user uuid.UUID, version int64, name string) *Rows[Passkey] {
	return query[Passkey](t, `UPDATE passkeys SET display_name = $5, version = version + 1
		WHERE id = $1 AND user_id = $2 AND practice_id = $3 AND version = $4 RETURNING `+passkeyColumns,
		id, user, t.practice, version, name)
}

// DropPasskey removes a passkey and returns its name, and the factors that the user
// has left. LockUser must come before it.
func (t *Tx) DropPasskey(id, user uuid.UUID) (name *Rows[string], left *Rows[method.Set]) {
	name = scalars[string](t, "DELETE FROM passkeys WHERE id = $1 AND user_id = $2 AND practice_id = $3 RETURNING display_name",
		id, user, t.practice)
	left = scalars[method.Set](t, `UPDATE credentials SET factors = CASE
			WHEN EXISTS (SELECT FROM passkeys WHERE user_id = $1 AND practice_id = $2) THEN factors ELSE factors & ~$3::integer END
		WHERE user_id = $1 AND practice_id = $2 RETURNING factors`, user, t.practice, method.Passkey)
	return name, left
}
