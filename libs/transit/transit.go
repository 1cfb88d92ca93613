// Package transit is the client of Vault's transit engine, where the keys of
// carekeep live: it makes and unwraps data keys, seals small secrets and signs.
// It keeps no key; libs/envelope caches unwrapped data keys.
package transit

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/carekeep/carekeep/libs/mtls"
)

// The types of key that carekeep uses.
const (
	AES256  = "aes256-gcm96"
	Ed25519 = "ed25519"
)

// Names of the keys that exist once. A practice's key is named by envelope.KeyName.
const (
	AuthSecrets     = "auth-secrets"     // auth: TOTP secrets, contact data
	AuditCheckpoint = "audit-checkpoint" // audit: signs checkpoints
	AuditReports    = "audit-reports"    // audit: reports of vulnerabilities
	AuditIncidents  = "audit-incidents"  // audit: what people write about incidents and breaches
	Backup          = "backup"           // backup: wraps the data keys of backups

	RecordsCertificates = "records-certificates" // records: signs certificates of destruction
)

const (
	callTime    = 5 * time.Second // one attempt of one call
	connections = 64              // idle connections kept for concurrent calls
	batchSize   = 1000            // items in one batch call
)

// Config says where Vault is and which certificate role to log in with.
type Config struct {
	Address string `yaml:"address"` // https://host:port
	Role    string `yaml:"role"`    // the role of auth/cert, named after the service
}

// Validate refuses an address that is not https and a missing role.
func (c Config) Validate() error {
	u, err := url.Parse(c.Address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("address: %q must be like https://vault.internal:8200", c.Address)
	}
	if c.Role == "" {
		return errors.New("role: name the role of Vault's certificate login, for example records")
	}
	return nil
}

// Client calls the engine as one identity. Safe for concurrent use.
type Client struct {
	vault   *api.Client
	session session
}

// New makes a client. It logs in with the source's certificate when first used,
// so that a service starts while Vault is away; Ready tells.
func New(c Config, source *mtls.Source) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("transit: %w", err)
	}
	u, _ := url.Parse(c.Address) // Validate parsed it
	vault, err := api.NewClient(&api.Config{
		Address: c.Address,
		HttpClient: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     source.PlainClientTLS(u.Hostname()),
			MaxIdleConnsPerHost: connections, MaxIdleConns: connections, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: callTime,
		}},
		// Retries cover connection errors and 5xx. Every call may be repeated: at
		// worst a data key is made that nobody keeps.
		MaxRetries: 2, MinRetryWait: 50 * time.Millisecond, MaxRetryWait: 500 * time.Millisecond,
		Timeout: callTime,
	})
	if err != nil {
		return nil, fmt.Errorf("transit: %w", err)
	}
	vault.ClearToken() // api takes VAULT_TOKEN from the environment; only our certificate counts
	vault.ClearNamespace()
	return &Client{vault: vault, session: session{vault: vault, role: c.Role, now: time.Now}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.vault.CloneConfig().HttpClient.CloseIdleConnections() }

// Ready says whether Vault answers and knows us.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, func(ctx context.Context, v *api.Client) (*api.Secret, error) {
		return v.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	})
	return err
}

// CreateKey makes a key of the type AES256 or Ed25519. A key that exists stays as it is.
func (c *Client) CreateKey(ctx context.Context, name, typ string) error {
	_, err := c.write(ctx, "keys/"+name, map[string]any{"type": typ})
	return err
}

// RotateKey adds a version to a key: what is wrapped from now on uses it, what
// was wrapped before still opens.
func (c *Client) RotateKey(ctx context.Context, name string) error {
	_, err := c.write(ctx, "keys/"+name+"/rotate", nil)
	return err
}

// DataKey makes a data key of 32 bytes, plain and wrapped under the named key.
// The caller wipes plain.
func (c *Client) DataKey(ctx context.Context, name string) (plain []byte, wrapped string, err error) {
	data, err := c.write(ctx, "datakey/plaintext/"+name, nil)
	if err != nil {
		return nil, "", err
	}
	wrapped, _ = data["ciphertext"].(string)
	plain, err = decode(data["plaintext"])
	if err != nil || wrapped == "" {
		return nil, "", malformed(err)
	}
	return plain, wrapped, nil
}

// Encrypt seals values under the named key, in order.
func (c *Client) Encrypt(ctx context.Context, name string, plain [][]byte) ([]string, error) {
	items := make([]string, len(plain))
	for i, p := range plain {
		items[i] = base64.StdEncoding.EncodeToString(p)
	}
	return c.batch(ctx, "encrypt/"+name, "plaintext", "ciphertext", items)
}

// Decrypt opens what Encrypt or DataKey sealed, in order. The caller wipes the results.
func (c *Client) Decrypt(ctx context.Context, name string, sealed []string) ([][]byte, error) {
	texts, err := c.batch(ctx, "decrypt/"+name, "ciphertext", "plaintext", sealed)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(texts))
	for i, text := range texts {
		if out[i], err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, malformed(nil) // the decoder's error would quote the input
		}
	}
	return out, nil
}

// Rewrap moves wrapped values to the newest version of the named key, in order;
// nothing becomes plain outside Vault.
func (c *Client) Rewrap(ctx context.Context, name string, sealed []string) ([]string, error) {
	return c.batch(ctx, "rewrap/"+name, "ciphertext", "ciphertext", sealed)
}

// Sign signs a message with the newest version of an Ed25519 key.
func (c *Client) Sign(ctx context.Context, name string, message []byte) ([]byte, error) {
	data, err := c.write(ctx, "sign/"+name, map[string]any{"input": base64.StdEncoding.EncodeToString(message)})
	if err != nil {
		return nil, err
	}
	text, _ := data["signature"].(string) // vault:v1:base64
	signature, err := decode(text[strings.LastIndexByte(text, ':')+1:])
	if err != nil || len(signature) != ed25519.SignatureSize {
		return nil, malformed(err)
	}
	return signature, nil
}

// PublicKeys are the public halves of an Ed25519 key by version.
func (c *Client) PublicKeys(ctx context.Context, name string) (map[int]ed25519.PublicKey, error) {
	secret, err := c.call(ctx, func(ctx context.Context, v *api.Client) (*api.Secret, error) {
		return v.Logical().ReadWithContext(ctx, "transit/keys/"+name)
	})
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, errNoKey
	}
	versions, _ := secret.Data["keys"].(map[string]any)
	keys := make(map[int]ed25519.PublicKey, len(versions))
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		fields, _ := versions[v].(map[string]any)
		key, err := decode(fields["public_key"])
		number, numberErr := strconv.Atoi(v)
		if err = errors.Join(err, numberErr); err != nil || len(key) != ed25519.PublicKeySize {
			return nil, malformed(err)
		}
		keys[number] = key
	}
	return keys, nil
}

func decode(v any) ([]byte, error) {
	text, _ := v.(string)
	out, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(out) == 0 {
		return nil, errors.New("a value is missing or not base64")
	}
	return out, nil
}
