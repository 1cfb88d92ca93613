package transit

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/carekeep/carekeep/libs/errs"
)

// Key is what Vault says of a symmetric key.
type Key struct {
	Latest int // the version that wraps
	// MinDecryption is the oldest version that still opens something, MinAvailable the
	// oldest that still exists: what was trimmed is gone for good.
	MinDecryption, MinAvailable int
	// Created are the versions that exist, with the time each was made.
	Created map[int]time.Time
}

// Key reads the versions of a symmetric key.
func (c *Client) Key(ctx context.Context, name string) (Key, error) {
	secret, err := c.call(ctx, func(ctx context.Context, v *api.Client) (*api.Secret, error) {
		return v.Logical().ReadWithContext(ctx, "transit/keys/"+name)
	})
	if err != nil {
		return Key{}, err
	}
	if secret == nil {
		return Key{}, errNoKey
	}
	k := Key{Created: map[int]time.Time{}}
	if k.Latest, err = integer(secret.Data["latest_version"]); err != nil {
		return Key{}, malformed(err)
	}
	if k.MinDecryption, err = integer(secret.Data["min_decryption_version"]); err != nil {
		return Key{}, malformed(err)
	}
	if k.MinAvailable, err = integer(secret.Data["min_available_version"]); err != nil {
		return Key{}, malformed(err)
	}
	k.MinAvailable = max(k.MinAvailable, 1) // Vault says 0 until the first trim
	versions, _ := secret.Data["keys"].(map[string]any)
	for text, at := range versions {
		number, numberErr := strconv.Atoi(text)
		seconds, err := integer(at)
		if numberErr != nil || err != nil {
			return Key{}, malformed(err)
		}
		k.Created[number] = time.Unix(int64(seconds), 0).UTC()
	}
	return k, nil
}

// TrimKey destroys the versions of a key below oldest: nothing that they wrapped can be
// opened ever again, wherever a copy of it lies. The caller has rewrapped what is to stay.
// It may be repeated.
func (c *Client) TrimKey(ctx context.Context, name string, oldest int) error {
	// Vault trims only what may neither encrypt nor decrypt any more.
	limits := map[string]any{"min_decryption_version": oldest, "min_encryption_version": oldest}
	if _, err := c.write(ctx, "keys/"+name+"/config", limits); err != nil {
		return err
	}
	_, err := c.write(ctx, "keys/"+name+"/trim", map[string]any{"min_available_version": oldest})
	return err
}

// VersionOf is the version of the key that a value is wrapped under, 0 where it is no
// wrapped value.
func VersionOf(wrapped string) int {
	parts := strings.SplitN(wrapped, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" || !strings.HasPrefix(parts[1], "v") {
		return 0
	}
	version, err := strconv.Atoi(parts[1][1:])
	if err != nil || version < 1 {
		return 0
	}
	return version
}

var errNoKey = errs.New(errs.KindNotFound, "TRANSIT_NO_KEY", "the key service has no such key")

func integer(v any) (int, error) {
	number, _ := v.(json.Number)
	return strconv.Atoi(number.String())
}
