package envelope

import (
	"bytes"
	"crypto/rand"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/errs"
)

func rawKey() []byte {
	raw := make([]byte, KeySize)
	_, _ = rand.Read(raw)
	return raw
}

func newKey(t testing.TB) *Key {
	k, err := NewKey(uuid.New(), rawKey())
	require.NoError(t, err)
	return k
}

func binding(k *Key) Binding {
	return Binding{Practice: uuid.New(), Patient: uuid.New(), Type: "Patient", ID: uuid.New(), Version: 7, KeyID: k.ID()}
}

func TestDH17_AnyChangedByteIsDataLoss(t *testing.T) {
	k := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
		b := binding(k)
		sealed, err := k.Seal(b, plain)
		require.NoError(t, err)
		opened, err := k.Open(b, sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, opened))

		mask := rapid.ByteRange(1, 255).Draw(t, "mask")
		for i := range sealed {
			sealed[i] ^= mask
			_, err := k.Open(b, sealed)
			require.ErrorIs(t, err, ErrBroken, "byte %d", i)
			sealed[i] ^= mask
		}
		_, err = k.Open(b, sealed[:len(sealed)-1])
		require.ErrorIs(t, err, ErrBroken)
		_, err = k.Open(b, append(sealed, 0))
		require.ErrorIs(t, err, ErrBroken)
	})
	require.Equal(t, errs.KindDataLoss, errs.KindOf(ErrBroken))
	require.Equal(t, "SEAL_BROKEN", errs.ReasonOf(ErrBroken))
}

func TestDH17_AMovedDocumentDoesNotOpen(t *testing.T) {
	raw := rawKey()
	k, err := NewKey(uuid.New(), append([]byte(nil), raw...))
	require.NoError(t, err)
	b := binding(k)
	sealed, err := k.Seal(b, []byte("chart"))
	require.NoError(t, err)

	moved := map[string]func(*Binding){
		"practice": func(b *Binding) { b.Practice = uuid.New() },
		"patient":  func(b *Binding) { b.Patient = uuid.New() },
		"type":     func(b *Binding) { b.Type = "Encounter" },
		"id":       func(b *Binding) { b.ID = uuid.New() },
		"version":  func(b *Binding) { b.Version++ },
		"swapped":  func(b *Binding) { b.Practice, b.Patient = b.Patient, b.Practice },
	}
	for name, move := range moved {
		other := b
		move(&other)
		_, err := k.Open(other, sealed)
		require.ErrorIs(t, err, ErrBroken, name)
	}
	// The same key material under another id: the key id is bound as well.
	twin, err := NewKey(uuid.New(), raw)
	require.NoError(t, err)
	other := b
	other.KeyID = twin.ID()
	_, err = twin.Open(other, sealed)
	require.ErrorIs(t, err, ErrBroken)
	_, err = twin.Seal(b, []byte("x"))
	require.Error(t, err, "a binding names the key that seals")
}

func TestBindingsNeverShareAnEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) Binding {
			id := rapid.Custom(func(t *rapid.T) uuid.UUID {
				return uuid.UUID(rapid.SliceOfN(rapid.ByteRange(0, 1), 16, 16).Draw(t, "id"))
			})
			return Binding{
				id.Draw(t, label), id.Draw(t, label), rapid.StringN(0, 3, -1).Draw(t, label),
				id.Draw(t, label), rapid.Int64().Draw(t, label), id.Draw(t, label),
			}
		}
		a, b := draw("a"), draw("b")
		require.Equal(t, a == b, bytes.Equal(a.encode(), b.encode()))
	})
}

func TestNewKeyOwnsAndWipesItsInput(t *testing.T) {
	for _, size := range []int{0, 16, KeySize, 64} {
		raw := bytes.Repeat([]byte{7}, size)
		_, err := NewKey(uuid.New(), raw)
		require.Equal(t, size == KeySize, err == nil)
		require.Equal(t, make([]byte, size), raw)
	}
}

func TestTheLastReleaseWipesTheKey(t *testing.T) {
	k := newKey(t)
	gcm := reflect.ValueOf(k.material.aead).Field(0).Elem()
	require.False(t, gcm.IsZero(), "the test looks at the key schedule")
	require.True(t, k.hold())
	k.Release()
	require.False(t, gcm.IsZero(), "one holder is left")
	k.Release()
	require.True(t, gcm.IsZero(), "nothing of the key schedule is left")

	_, err := k.Seal(binding(k), nil)
	require.ErrorIs(t, err, ErrWiped)
	_, err = k.Open(binding(k), make([]byte, 64))
	require.ErrorIs(t, err, ErrWiped)
	k.Release()
	require.False(t, k.hold(), "released once too often, still gone")
}

func TestAForgottenKeyIsWipedByTheCollector(t *testing.T) {
	k := newKey(t)
	gcm := reflect.ValueOf(k.material.aead).Field(0).Elem()
	k = nil
	require.Eventually(t, func() bool { runtime.GC(); return gcm.IsZero() }, 10*time.Second, 5*time.Millisecond)
}

func TestAKeyIsNotWipedWhileInUse(t *testing.T) {
	for range 50 {
		k := newKey(t)
		b := binding(k)
		sealed, err := k.Seal(b, make([]byte, 4096))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := k.Open(b, sealed); err != nil {
						if !errors.Is(err, ErrWiped) { // never ErrBroken: that would be a half-wiped key
							t.Error(err)
						}
						return
					}
				}
			})
		}
		k.Release()
		wg.Wait()
	}
}

func FuzzOpen(f *testing.F) {
	k, err := NewKey(uuid.UUID{1}, bytes.Repeat([]byte{3}, KeySize))
	require.NoError(f, err)
	b := Binding{Type: "Patient", KeyID: k.ID()}
	sealed, err := k.Seal(b, []byte("seed"))
	require.NoError(f, err)
	f.Add(sealed)
	f.Add([]byte{})
	f.Add([]byte{version})
	f.Add(bytes.Repeat([]byte{version}, 29))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := k.Open(b, data)
		if err != nil {
			require.ErrorIs(t, err, ErrBroken)
			require.Nil(t, plain)
			return
		}
		require.Equal(t, "seed", string(plain), "nobody without the key makes a document that opens")
	})
}

func BenchmarkOpen(b *testing.B) {
	k := newKey(b)
	at := binding(k)
	sealed, err := k.Seal(at, make([]byte, 1500))
	require.NoError(b, err)
	b.SetBytes(1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(at, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
