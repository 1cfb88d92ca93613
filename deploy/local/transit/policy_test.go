package main

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

const (
	create = logical.CreateOperation
	see    = logical.ReadOperation
	update = logical.UpdateOperation
	remove = logical.DeleteOperation
	list   = logical.ListOperation
)

func shipped(t *testing.T) map[string]policy {
	policies, err := loadPolicies("../../vault")
	require.NoError(t, err)
	return policies
}

func TestDTD22_PoliciesGiveEachIdentityItsOwnKeysOnly(t *testing.T) {
	policies := shipped(t)
	require.Len(t, policies, 5, "the gateway has none")
	aes := map[string]any{"type": "aes256-gcm96"}
	allowed := []struct {
		identity string
		op       logical.Operation
		path     string
		data     map[string]any
	}{
		{"records", update, "transit/keys/practice-1", aes},
		{"records", see, "transit/keys/practice-1", nil},
		{"records", update, "transit/keys/practice-1/rotate", nil},
		{"records", update, "transit/datakey/plaintext/practice-1", map[string]any{"bits": 256}},
		{"records", update, "transit/encrypt/practice-1", nil},
		{"records", update, "transit/decrypt/practice-1", nil},
		{"records", update, "transit/rewrap/practice-1", nil},
		{"auth", update, "transit/keys/auth-secrets", aes},
		{"auth", update, "transit/encrypt/auth-secrets", nil},
		{"auth", update, "transit/decrypt/auth-secrets", nil},
		{"audit", update, "transit/keys/audit-checkpoint", map[string]any{"type": "ed25519"}},
		{"audit", see, "transit/keys/audit-checkpoint", nil},
		{"audit", update, "transit/sign/audit-checkpoint", nil},
		{"audit", update, "transit/keys/audit-reports", aes},
		{"audit", update, "transit/encrypt/audit-reports", nil},
		{"audit", update, "transit/decrypt/audit-reports", nil},
		{"audit", update, "transit/keys/audit-incidents", aes},
		{"audit", update, "transit/encrypt/audit-incidents", nil},
		{"audit", update, "transit/decrypt/audit-incidents", nil},
		{"backup", update, "transit/keys/backup", aes},
		{"backup", update, "transit/datakey/plaintext/backup", nil},
		{"backup-restore", update, "transit/decrypt/backup", nil},
	}
	type use struct {
		identity, path string
		op             logical.Operation
	}
	may := map[use]bool{}
	var paths []string
	for _, a := range allowed {
		require.True(t, policies[a.identity].allows(a.path, a.op, a.data), "%v", a)
		may[use{a.identity, a.path, a.op}] = true
		paths = append(paths, a.path)
	}
	for _, key := range []string{"practice-1", "auth-secrets", "audit-checkpoint", "audit-incidents", "audit-reports", "backup"} {
		for _, verb := range []string{"export/encryption-key/", "export/signing-key/", "backup/", "restore/", "hmac/", "sign/", "verify/",
			"encrypt/", "decrypt/", "rewrap/", "datakey/plaintext/", "datakey/wrapped/", "byok-export/a/", "keys/"} {
			paths = append(paths, "transit/"+verb+key)
		}
	}
	paths = append(paths, "transit/keys/", "transit/cache-config", "transit/config/keys", "transit/random/32", "sys/policies/acl/records", "")
	for identity, p := range policies {
		for _, path := range paths {
			for _, op := range []logical.Operation{create, see, update, remove, list} {
				// On a key of its own, create is update, and .../rotate has nothing to read.
				key := strings.HasPrefix(path, "transit/keys/") && (op == create || op == see && strings.HasSuffix(path, "/rotate"))
				if may[use{identity, path, op}] || key && may[use{identity, path, update}] {
					continue
				}
				require.False(t, p.allows(path, op, nil), "%s may %s %s", identity, op, path)
			}
		}
	}
}

func TestNobodyChangesAKeysConfiguration(t *testing.T) {
	refused := map[string]map[string]any{
		"/config": {"exportable": true}, "/import": {"ciphertext": "x"}, "": {"exportable": true},
	}
	for _, name := range []string{"deletion_allowed", "allow_plaintext_backup", "auto_rotate_period"} {
		refused["/config?"+name] = map[string]any{name: true}
	}
	for identity, p := range shipped(t) {
		for _, key := range []string{"practice-1", "auth-secrets", "audit-checkpoint", "audit-incidents", "audit-reports", "backup"} {
			for sub, data := range refused {
				sub, _, _ = strings.Cut(sub, "?")
				require.False(t, p.allows("transit/keys/"+key+sub, update, data), "%s %s%s", identity, key, sub)
			}
			require.False(t, p.allows("transit/keys/"+key, update, map[string]any{"type": "rsa-4096"}))
		}
	}
}

// Old versions are raised and trimmed by records, on practices' keys alone.
func TestOnlyRecordsTrimsAndOnlyPracticesKeys(t *testing.T) {
	trims := map[string]map[string]any{
		"/config": {"min_decryption_version": 2, "min_encryption_version": 2}, "/trim": {"min_available_version": 2},
	}
	for identity, p := range shipped(t) {
		for _, key := range []string{"practice-1", "auth-secrets", "audit-checkpoint", "audit-incidents", "audit-reports", "backup"} {
			for sub, data := range trims {
				want := identity == "records" && key == "practice-1"
				require.Equal(t, want, p.allows("transit/keys/"+key+sub, update, data), "%s %s%s", identity, key, sub)
			}
		}
	}
}

func TestPoliciesFollowVaultsPriorities(t *testing.T) {
	p, err := parsePolicy(`
path "a/*"     { capabilities = ["read"] }
path "a/b"     { capabilities = ["update"] }
path "a/+/c"   { capabilities = ["list"] }
path "a/x/*"   { capabilities = ["deny"] }
path "+/key-*" { capabilities = ["delete"] }
`)
	require.NoError(t, err)
	require.True(t, p.allows("a/z", see, nil))
	require.True(t, p.allows("a/z/d/e", see, nil))
	require.False(t, p.allows("a/b", see, nil), "an exact path wins")
	require.True(t, p.allows("a/b", update, nil))
	require.True(t, p.allows("a/q/c", list, nil))
	require.False(t, p.allows("a/q/c", see, nil), "a segment without a glob wins over a glob")
	require.False(t, p.allows("a/x/c", list, nil), "a later wildcard wins")
	require.True(t, p.allows("z/key-1", remove, nil))
	require.False(t, p.allows("z/other", remove, nil))
	require.False(t, p.allows("b", see, nil))
	require.False(t, p.allows("a", see, nil))
}

func TestPoliciesThatAreNotEnforcedAreRefused(t *testing.T) {
	for _, text := range []string{
		`path "a" { capabilities = ["sudo"] }`,
		`path "a" { capabilities = ["read"] denied_parameters = { "x" = [] } }`,
		`path "a*b" { capabilities = ["read"] }`,
		`path "" { capabilities = ["read"] }`,
		`name = "x"`,
		`path "a" {`,
		`path "a" { policy = "write" }`,
	} {
		_, err := parsePolicy(text)
		require.Error(t, err, text)
	}
}
