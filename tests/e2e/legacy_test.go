package e2e

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// older is another system, written after the format's description alone.
type older struct{ encryption, mac []byte }

func newOlder(t *testing.T) older {
	t.Helper()
	o := older{make([]byte, 32), make([]byte, 32)}
	for _, key := range [][]byte{o.encryption, o.mac} {
		_, err := rand.Read(key)
		require.NoError(t, err)
	}
	return o
}

type olderBlob struct {
	Version    int    `json:"version"`
	Cipher     string `json:"cipher"`
	IV         []byte `json:"iv"`
	Ciphertext []byte `json:"ciphertext"`
	MAC        []byte `json:"mac"`
}

func (o older) seal(t *testing.T, mode string, text []byte) olderBlob {
	t.Helper()
	block, err := aes.NewCipher(o.encryption)
	require.NoError(t, err)
	b := olderBlob{Version: 1, Cipher: mode, IV: make([]byte, aes.BlockSize)}
	_, err = rand.Read(b.IV)
	require.NoError(t, err)
	text = bytes.Clone(text)
	if mode == "AES-256-CBC" {
		pad := aes.BlockSize - len(text)%aes.BlockSize
		text = append(text, bytes.Repeat([]byte{byte(pad)}, pad)...)
		cipher.NewCBCEncrypter(block, b.IV).CryptBlocks(text, text)
	} else {
		cipher.NewCTR(block, b.IV).XORKeyStream(text, text)
	}
	b.Ciphertext = text
	mac := hmac.New(sha256.New, o.mac)
	for _, part := range []string{"1", mode, string(b.IV), string(b.Ciphertext)} {
		require.NoError(t, binary.Write(mac, binary.BigEndian, uint64(len(part))))
		_, err := mac.Write([]byte(part))
		require.NoError(t, err)
	}
	b.MAC = mac.Sum(nil)
	return b
}

func lines(t *testing.T, blobs []olderBlob) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, b := range blobs {
		require.NoError(t, json.NewEncoder(&out).Encode(b))
	}
	return out.Bytes()
}

// A CTR blob without a valid MAC is refused, and with it the whole file: nothing of it is stored. What has valid
// MACs leaves as GCM: every resource opens as it was, and no block of the old ciphertexts is anywhere in the database.
func TestDTD21_LegacyBlobsLeaveAsGCM(t *testing.T) {
	system := newOlder(t)
	resources := generator.Resources(generator.Patient(populationOfLegacy, 0))
	var blobs []olderBlob
	for i, r := range resources {
		blobs = append(blobs, system.seal(t, []string{"AES-256-CTR", "AES-256-CBC"}[i%2], r.JSON))
	}
	doctor := newCommandLine(t)
	doctor.signIn(seed.Brown)
	keep := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(doctor.path(name), content, 0o600))
	}
	keep("enc.key", system.encryption)
	keep("mac.key", []byte(hex.EncodeToString(system.mac)+"\n"))
	migrate := func(name string) ran {
		return doctor.run("", "keys", "import-legacy", name, "--encryption-key-file", "enc.key", "--mac-key-file", "mac.key")
	}

	forged := bytes.Clone(blobs[2].Ciphertext)
	forged[0] ^= 1 // which in CTR changes just this bit of the text
	good := blobs[2].Ciphertext
	blobs[2].Ciphertext = forged
	keep("forged.jsonl", lines(t, blobs))
	refused := migrate("forged.jsonl")
	require.True(t, refused.failed)
	require.Contains(t, refused.out, "forged.jsonl: line 3 does not fit its MAC")
	require.Contains(t, refused.err, "nothing was sent")
	require.Empty(t, sealedOf(t, resources), "nothing of a refused file is stored")

	blobs[2].Ciphertext = good
	keep("old.jsonl", lines(t, blobs))
	done := migrate("old.jsonl")
	require.False(t, done.failed, done.out+done.err)
	stored := sealedOf(t, resources)
	require.Len(t, stored, len(resources))
	for _, r := range resources {
		answer, err := as(t, seed.Brown).Send(t.Context(), http.MethodGet, "/v1/fhir/"+r.Type+"/"+r.ID.String(), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
		require.Equal(t, string(r.JSON), string(answer.Body))
		// Format 1 is AES-256-GCM: one byte, nonce, text, tag.
		require.EqualValues(t, 1, stored[r.ID][0])
		require.Len(t, stored[r.ID], 1+12+len(r.JSON)+16)
	}
	requireNowhere(t, blobs)
}

// sealedOf is what the database holds of the resources.
func sealedOf(t *testing.T, resources []generator.Resource) map[uuid.UUID][]byte {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	out := map[uuid.UUID][]byte{}
	for _, r := range resources {
		var sealed []byte
		rows, err := conn.Query(t.Context(), "SELECT sealed FROM documents WHERE id = $1", r.ID)
		require.NoError(t, err)
		for rows.Next() {
			require.NoError(t, rows.Scan(&sealed))
			out[r.ID] = sealed
		}
		require.NoError(t, rows.Err())
	}
	return out
}

// requireNowhere looks through every column of bytes in the database.
func requireNowhere(t *testing.T, blobs []olderBlob) {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), `SELECT format('%I', c.table_name), format('%I', c.column_name) FROM information_schema.columns c
		JOIN information_schema.tables USING (table_schema, table_name)
		WHERE c.table_schema = 'public' AND c.data_type = 'bytea' AND table_type = 'BASE TABLE'`)
	require.NoError(t, err)
	var columns [][2]string
	for rows.Next() {
		var c [2]string
		require.NoError(t, rows.Scan(&c[0], &c[1]))
		columns = append(columns, c)
	}
	require.NoError(t, rows.Err())
	require.Contains(t, columns, [2]string{"documents", "sealed"})
	var parts [][]byte
	for _, b := range blobs {
		parts = append(parts, b.IV, b.Ciphertext[:aes.BlockSize], b.MAC)
	}
	for _, c := range columns {
		var found bool
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM `+c[0]+` t, unnest($1::bytea[]) part
			WHERE position(part IN t.`+c[1]+`) > 0)`, parts).Scan(&found))
		require.False(t, found, "something of the old blobs stands in %s.%s", c[0], c[1])
	}
}
