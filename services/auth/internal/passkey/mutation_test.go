package passkey_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// clinic is two users of two practices, each with a passkey.
type clinic struct {
	rig
	root, smith, jones   *testkit.Person
	phone, other         *phone
	smithName, jonesName string // passkeys/{uuid}
	refusal              string // the answer to a ceremony that never was
	admin                *pgx.Conn
}

func newClinic(t *testing.T, mods ...func(*app.Settings)) *clinic {
	t.Helper()
	c := &clinic{rig: newRig(t, append(mods, wide)...), phone: newPhone(), other: newPhone()}
	c.root = c.Superadmin()
	c.smith, c.jones = c.NewPractice(c.root, "dr.smith"), c.NewPractice(c.root, "dr.jones")
	added, err := c.register(c.smith, c.phone, "phone")
	require.NoError(t, err, "a good registration passes")
	c.smithName = added.GetPasskey().GetName()
	added, err = c.register(c.jones, c.other, "phone")
	require.NoError(t, err)
	c.jonesName = added.GetPasskey().GetName()
	c.admin, err = c.Postgres.AdminConn(t.Context(), c.Database)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.admin.Close(context.Background())) })
	err = c.finishSignIn("01890000-0000-7000-8000-000000000000", []byte(`{}`))
	require.Equal(t, "PASSKEY_REFUSED", errs.ReasonOf(err))
	c.refusal = status.Convert(err).Proto().String()
	return c
}

func (c *clinic) client() *authv1.Client {
	return &authv1.Client{Address: c.smith.Address, UserAgent: c.smith.Agent, DeviceToken: c.smith.Device}
}

// begun is a ceremony with its options as a browser gets them.
type begun struct {
	id      string
	options []byte
}

func (c *clinic) begun(response *authv1.PasskeyCeremony, err error) begun {
	c.T.Helper()
	require.NoError(c.T, err)
	return begun{response.GetCeremony(), toJSON(c.T, response.GetOptions())}
}

func (c *clinic) beginRegistration() begun {
	c.T.Helper()
	return c.begun(c.BeginPasskeyRegistration(c.smith.Context(), &authv1.BeginPasskeyRegistrationRequest{}))
}

func (c *clinic) beginSignIn() begun {
	c.T.Helper()
	// So many wrong answers would get the address blocked, which TestDH39 is about.
	_, err := c.admin.Exec(c.T.Context(), "DELETE FROM reputation")
	require.NoError(c.T, err)
	return c.begun(c.BeginPasskeySignIn(c.Context(), &authv1.BeginPasskeySignInRequest{Client: c.client()}))
}

func (c *clinic) beginStepUp() begun {
	c.T.Helper()
	return c.begun(c.BeginPasskeyStepUp(c.smith.Context(), &authv1.BeginPasskeyStepUpRequest{}))
}

func (c *clinic) finishRegistration(ceremony string, answer []byte) error {
	c.T.Helper()
	_, err := c.FinishPasskeyRegistration(c.smith.Context(), &authv1.FinishPasskeyRegistrationRequest{
		Ceremony: ceremony, Credential: toStruct(c.T, answer), DisplayName: "new",
	})
	return err
}

// finishSignIn keeps the token where there is one: the fifth session ends the first.
func (c *clinic) finishSignIn(ceremony string, answer []byte) error {
	c.T.Helper()
	opened, err := c.FinishPasskeySignIn(c.Context(), &authv1.FinishPasskeySignInRequest{
		Ceremony: ceremony, Credential: toStruct(c.T, answer), Client: c.client(),
	})
	if err == nil {
		c.smith.Session = opened.GetSessionToken()
	}
	return err
}

// finishStepUp keeps the new token where there is one.
func (c *clinic) finishStepUp(ceremony string, answer []byte) error {
	c.T.Helper()
	raised, err := c.FinishPasskeyStepUp(c.smith.Context(), &authv1.FinishPasskeyStepUpRequest{
		Ceremony: ceremony, Credential: toStruct(c.T, answer),
	})
	if err == nil {
		c.smith.Session = raised.GetSessionToken()
	}
	return err
}

// kept is all that an answer could have changed: passkeys, sessions with their tokens, and factors.
func (c *clinic) kept() string {
	c.T.Helper()
	found, err := c.admin.Query(c.T.Context(), `SELECT p::text FROM passkeys p
		UNION ALL SELECT format('%s %s %s %s', id, token_hash, assurance, ended) FROM sessions
		UNION ALL SELECT format('%s %s %s', user_id, factors, handle) FROM credentials ORDER BY 1`)
	require.NoError(c.T, err)
	rows, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(c.T, err)
	return strings.Join(rows, "\n")
}

// last is the event of the latest call.
func (c *clinic) last() *auditv1.Event {
	c.T.Helper()
	var payload []byte
	require.NoError(c.T, c.admin.QueryRow(c.T.Context(), "SELECT payload FROM outbox ORDER BY id DESC LIMIT 1").Scan(&payload))
	batch := &auditv1.Batch{}
	require.NoError(c.T, proto.Unmarshal(payload, batch))
	return batch.GetEvents()[len(batch.GetEvents())-1]
}

// refused checks that an answer was refused as every other one is, that only the
// audit log tells why, and that nothing else was changed since before.
func (c *clinic) refused(t *testing.T, err error, action accessv1.Action, stage, before string) {
	t.Helper()
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.Equal(t, "PASSKEY_REFUSED", errs.ReasonOf(err))
	require.Equal(t, c.refusal, status.Convert(err).Proto().String(), "one answer, whatever is wrong")
	last := c.last()
	require.Equal(t, stage, last.GetReason())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, last.GetOutcome())
	require.Equal(t, action, last.GetAction())
	require.Equal(t, before, c.kept(), "nothing stored, no session opened or raised")
}
