package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

func key(t require.TestingT, b byte) *seal.Key {
	k, err := seal.NewKey(bytes.Repeat([]byte{b}, 32), "vault:v1:wrapped")
	require.NoError(t, err)
	return k
}

func place() seal.Place {
	return seal.Place{System: "7300", Backup: uuid.UUID{1}, Key: "7300/1/base/x/base.part0001", Part: 1}
}

func sealed(t require.TestingT, k *seal.Key, at seal.Place, plain []byte) []byte {
	var out bytes.Buffer
	w, err := seal.NewWriter(&out, k, at, 1)
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func open(k *seal.Key, at seal.Place, object []byte) ([]byte, error) {
	r, err := seal.NewReader(bytes.NewReader(object), k, at)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestObjectsOpenAsSealed(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 10, 3<<20 + 17} {
		plain := make([]byte, size)
		_, _ = rand.Read(plain)
		got, err := open(key(t, 1), place(), sealed(t, key(t, 1), place(), plain))
		require.NoError(t, err, size)
		require.True(t, bytes.Equal(plain, got), size)
	}
}

func TestDH17_AnyChangedByteOfAnObjectIsFound(t *testing.T) {
	k := key(t, 1)
	object := sealed(t, k, place(), bytes.Repeat([]byte("chart "), 40))
	for i := range object {
		object[i] ^= 1
		_, err := open(k, place(), object)
		require.ErrorIs(t, err, seal.ErrBroken, "byte %d", i)
		object[i] ^= 1
	}
	for cut := range object {
		_, err := open(k, place(), object[:cut])
		require.ErrorIs(t, err, seal.ErrBroken, "cut at %d", cut)
	}
	_, err := open(k, place(), append(object, 0))
	require.ErrorIs(t, err, seal.ErrBroken)
	large := make([]byte, 4<<20)
	_, _ = rand.Read(large)
	object = sealed(t, k, place(), large)
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(object)-1).Draw(t, "byte")
		object[i] ^= 0x80
		_, err := open(k, place(), object)
		object[i] ^= 0x80
		require.ErrorIs(t, err, seal.ErrBroken)
	})
}

func TestAnObjectOpensInItsPlaceOnly(t *testing.T) {
	k := key(t, 1)
	object := sealed(t, k, place(), []byte("chart"))
	for name, move := range map[string]func(*seal.Place){
		"system": func(p *seal.Place) { p.System = "7301" },
		"backup": func(p *seal.Place) { p.Backup = uuid.UUID{2} },
		"key":    func(p *seal.Place) { p.Key += "0" },
		"part":   func(p *seal.Place) { p.Part++ },
		"shift":  func(p *seal.Place) { p.System, p.Key = "730", "0"+p.Key },
	} {
		at := place()
		move(&at)
		_, err := open(k, at, object)
		require.ErrorIs(t, err, seal.ErrBroken, name)
	}
	_, err := open(key(t, 2), place(), object)
	require.ErrorIs(t, err, seal.ErrBroken, "another key")
}

func TestAStorageErrorIsNotABrokenObject(t *testing.T) {
	k := key(t, 1)
	object := sealed(t, k, place(), make([]byte, 100))
	lost := errors.New("connection lost")
	r, err := seal.NewReader(io.MultiReader(bytes.NewReader(object[:60]), iotest.ErrReader(lost)), k, place())
	if err == nil {
		_, err = io.ReadAll(r)
	}
	require.ErrorIs(t, err, lost)
	require.NotErrorIs(t, err, seal.ErrBroken)
}

func TestKeysAreCheckedAndWiped(t *testing.T) {
	_, err := seal.NewKey(make([]byte, 16), "w")
	require.Error(t, err)
	_, err = seal.NewKey(make([]byte, 32), "")
	require.Error(t, err)
	raw := bytes.Repeat([]byte{5}, 32)
	k, err := seal.NewKey(raw, "w")
	require.NoError(t, err)
	a, err := k.Derive("a")
	require.NoError(t, err)
	b, err := k.Derive("b")
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	k.Wipe()
	require.Equal(t, make([]byte, 32), raw)
}

func FuzzReader(f *testing.F) {
	k := key(f, 1)
	f.Add(sealed(f, k, place(), []byte("seed")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, object []byte) {
		plain, err := open(k, place(), object)
		if err != nil {
			require.ErrorIs(t, err, seal.ErrBroken)
			return
		}
		require.Equal(t, "seed", string(plain))
	})
}
