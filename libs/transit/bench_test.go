package transit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/envelope"
)

// BenchmarkFieldOpen compares the two ways to open one field of 200 bytes: a call
// of the key service for each field, and the envelope with its cached data key.
// The ratio is the reason for envelopes.
func BenchmarkFieldOpen(b *testing.B) {
	records := client(b, devtransit.ForTest(b), "records")
	ctx := context.Background()
	practiceID, keyID := uuid.New(), uuid.New()
	name := envelope.KeyName(practiceID)
	require.NoError(b, records.CreateKey(ctx, name, "aes256-gcm96"))
	field := make([]byte, 200)
	sealed, err := records.Encrypt(ctx, name, [][]byte{field})
	require.NoError(b, err)
	_, wrapped, err := records.DataKey(ctx, name)
	require.NoError(b, err)
	ring := envelope.NewKeyring(records, envelope.Options{})
	defer ring.Close()
	key, _, err := ring.Get(ctx, practiceID, keyID, wrapped)
	require.NoError(b, err)
	binding := envelope.Binding{Practice: practiceID, KeyID: keyID}
	document, err := key.Seal(binding, field)
	require.NoError(b, err)

	each := map[string]float64{}
	measure := func(name string, open func() error) {
		b.Run(name, func(b *testing.B) {
			start := time.Now()
			for b.Loop() {
				if err := open(); err != nil {
					b.Fatal(err)
				}
			}
			each[name] = float64(time.Since(start)) / float64(b.N)
		})
	}
	measure("transit", func() error { _, err := records.Decrypt(ctx, name, sealed); return err })
	measure("envelope", func() error {
		k, _, err := ring.Get(ctx, practiceID, keyID, wrapped)
		if err == nil {
			_, err = k.Open(binding, document)
			k.Release()
		}
		return err
	})
	if each["envelope"] > 0 {
		b.Logf("transit %.0f ns, envelope %.0f ns: %.0f times", each["transit"], each["envelope"], each["transit"]/each["envelope"])
		require.Greater(b, each["transit"]/each["envelope"], 20.0)
	}
}
