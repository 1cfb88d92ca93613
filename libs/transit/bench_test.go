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

// BenchmarkRewrap compares rewrapping wrapped keys in batches with one call for each
// (target: 10,000 keys a minute).
func BenchmarkRewrap(b *testing.B) {
	records := client(b, devtransit.ForTest(b), "records")
	ctx := context.Background()
	name := envelope.KeyName(uuid.New())
	require.NoError(b, records.CreateKey(ctx, name, "aes256-gcm96"))
	const many = 500
	wrapped, err := records.Encrypt(ctx, name, make([][]byte, many))
	require.NoError(b, err)
	require.NoError(b, records.RotateKey(ctx, name))
	perMinute := map[string]float64{}
	measure := func(name string, rewrap func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			start, keys := time.Now(), 0
			for b.Loop() {
				n, err := rewrap()
				require.NoError(b, err)
				keys += n
			}
			perMinute[name] = float64(keys) / time.Since(start).Minutes()
			b.ReportMetric(perMinute[name], "keys/min")
		})
	}
	measure("batch", func() (int, error) { _, err := records.Rewrap(ctx, name, wrapped); return many, err })
	measure("each", func() (int, error) { _, err := records.Rewrap(ctx, name, wrapped[:1]); return 1, err })
	if perMinute["each"] > 0 {
		b.Logf("batches %.0f keys/min, each alone %.0f keys/min: %.1f times", perMinute["batch"], perMinute["each"], perMinute["batch"]/perMinute["each"])
		require.Greater(b, perMinute["batch"], 10_000.0)
	}
}
