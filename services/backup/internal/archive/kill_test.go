package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

const childConfig = "CAREKEEP_BACKUP_TEST_CONFIG"

type childSettings struct {
	Files   mtls.Files
	Primary replication.Config
	Transit transit.Config
}

func childParts() (replication.Primary, *transit.Client, error) {
	var s childSettings
	if err := json.Unmarshal([]byte(os.Getenv(childConfig)), &s); err != nil {
		return replication.Primary{}, nil, err
	}
	source, err := mtls.Load(s.Files, nil)
	if err != nil {
		return replication.Primary{}, nil, err
	}
	keys, err := transit.New(s.Transit, source)
	return replication.Primary{Config: s.Primary, Source: source}, keys, err
}

func TestABackupThatIsKilledIsNeverListed(t *testing.T) {
	b := setup(t)
	files, err := b.pg.CA().Issue("backup")
	require.NoError(t, err)
	settings, err := json.Marshal(childSettings{files, b.primary.Config, transit.Config{Address: b.vault, Role: "backup"}})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childStore+"="+b.dir, childConfig+"="+string(settings))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Equal(t, "half\n", line)

	keys, err := b.Store.List(t.Context(), "")
	require.NoError(t, err)
	require.NotEmpty(t, keys, "it had stored something")
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	require.Eventually(t, func() bool {
		return query(t, b.pg, "postgres", "SELECT count(*)::text FROM pg_replication_slots") == "0"
	}, 10*time.Second, 50*time.Millisecond, "nothing holds the primary's log any more")
}

func TestABackupThatIsCancelledIsNeverListed(t *testing.T) {
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Create(ctx, b.primary, b.backup, func(done int64) {
		if done > 12<<20 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}
