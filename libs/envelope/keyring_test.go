package envelope

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service unwraps by table; the real key service is tested in libs/transit.
type service struct {
	calls, keys atomic.Int64
	gate        chan struct{} // where set, an unwrap waits for it
	fail        error
}

func (s *service) Decrypt(ctx context.Context, key string, wrapped []string) ([][]byte, error) {
	s.calls.Add(1)
	s.keys.Add(int64(len(wrapped)))
	if s.gate != nil {
		<-s.gate
	}
	if s.fail != nil {
		return nil, s.fail
	}
	out := make([][]byte, len(wrapped))
	for i, w := range wrapped {
		raw := make([]byte, KeySize)
		copy(raw, key+w)
		copy(raw[16:], w)
		out[i] = raw
	}
	return out, nil
}

type clock struct{ now atomic.Int64 }

func (c *clock) NowNano() int64                      { return c.now.Load() }
func (c *clock) Tick(time.Duration) <-chan time.Time { return nil }

func keyring(t *testing.T, s *service, o Options) *Keyring {
	r := NewKeyring(s, o)
	t.Cleanup(r.Close)
	return r
}

func TestKeyringUnwrapsOnceAndSaysWhoDid(t *testing.T) {
	s := &service{}
	r := keyring(t, s, Options{})
	practice, id := uuid.New(), uuid.New()
	k, fetched, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	require.True(t, fetched)
	again, fetched, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	require.False(t, fetched)
	require.Same(t, k, again)

	_, fetched, err = r.Get(t.Context(), uuid.New(), id, "w")
	require.NoError(t, err)
	require.True(t, fetched, "another practice's key is another key, whatever its id")
	require.EqualValues(t, 2, s.calls.Load())
}

func TestKeyringSharesOneUnwrap(t *testing.T) {
	s := &service{gate: make(chan struct{})}
	r := keyring(t, s, Options{})
	practice, id := uuid.New(), uuid.New()
	var fetches atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			k, fetched, err := r.Get(context.Background(), practice, id, "w")
			if err != nil {
				t.Error(err)
				return
			}
			if fetched {
				fetches.Add(1)
			}
			k.Release()
		})
	}
	require.Eventually(t, func() bool { return s.calls.Load() == 1 }, 5*time.Second, time.Millisecond)
	close(s.gate)
	wg.Wait()
	require.EqualValues(t, 1, fetches.Load())
	require.EqualValues(t, 1, s.calls.Load())
	k, _, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	require.EqualValues(t, 2, k.holders.Load(), "the cache and this test; everybody else let go")
}

func TestAnImpatientCallerLeavesTheUnwrapToOthers(t *testing.T) {
	s := &service{gate: make(chan struct{})}
	r := keyring(t, s, Options{})
	practice, id := uuid.New(), uuid.New()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := r.Get(ctx, practice, id, "w")
	require.ErrorIs(t, err, context.Canceled)
	close(s.gate)
	require.Eventually(t, func() bool {
		k, ok := r.cache.GetIfPresent(ref{practice, id})
		return ok && k.holders.Load() == 1
	}, 5*time.Second, time.Millisecond)
}

func TestKeyringForgetsAfterItsTime(t *testing.T) {
	s, c := &service{}, &clock{}
	r := keyring(t, s, Options{TTL: time.Minute, Clock: c})
	practice, id := uuid.New(), uuid.New()
	held, _, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	c.now.Add(int64(59 * time.Second))
	_, fetched, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	require.False(t, fetched, "use does not lengthen the time")
	held.Release()
	c.now.Add(int64(2 * time.Second))
	fresh, fetched, err := r.Get(t.Context(), practice, id, "w")
	require.NoError(t, err)
	require.True(t, fetched)
	require.NotSame(t, held, fresh)

	sealed, err := held.Seal(binding(held), []byte("x"))
	require.NoError(t, err, "the second Get still holds the old key")
	_, err = held.Open(binding(held), sealed)
	require.ErrorIs(t, err, ErrBroken)
	held.Release()
	_, err = held.Seal(binding(held), nil)
	require.ErrorIs(t, err, ErrWiped)
}

func TestKeyringIsBoundedAndWipesWhatLeaves(t *testing.T) {
	s := &service{}
	r := keyring(t, s, Options{Max: 10})
	practice := uuid.New()
	var all []*Key
	for range 100 {
		k, _, err := r.Get(t.Context(), practice, uuid.New(), "w")
		require.NoError(t, err)
		k.Release()
		all = append(all, k)
	}
	require.Eventually(t, func() bool {
		r.cache.CleanUp()
		live := 0
		for _, k := range all {
			if k.holders.Load() > 0 {
				live++
			}
		}
		return live <= 10
	}, 5*time.Second, time.Millisecond)
}

func TestBatchUnwrapsWhatIsMissingInOneCall(t *testing.T) {
	s := &service{}
	r := keyring(t, s, Options{})
	practice := uuid.New()
	var list []Wrapped
	for range 5 {
		list = append(list, Wrapped{ID: uuid.New(), Blob: "w"})
	}
	_, _, err := r.Get(t.Context(), practice, list[0].ID, "w")
	require.NoError(t, err)
	keys, fetched, err := r.GetAll(t.Context(), practice, append(list, list[1], list[0]))
	require.NoError(t, err)
	require.Len(t, keys, 5)
	require.Len(t, fetched, 4)
	require.EqualValues(t, 2, s.calls.Load())
	require.EqualValues(t, 5, s.keys.Load())
	for id, k := range keys {
		require.Equal(t, id, k.ID())
		_, err := k.Seal(Binding{KeyID: id}, nil)
		require.NoError(t, err)
	}
	_, fetched, err = r.GetAll(t.Context(), practice, list)
	require.NoError(t, err)
	require.Empty(t, fetched)
}

func TestAFailedUnwrapHoldsAndCachesNothing(t *testing.T) {
	s := &service{}
	r := keyring(t, s, Options{})
	practice := uuid.New()
	cached := Wrapped{ID: uuid.New(), Blob: "w"}
	k, _, err := r.Get(t.Context(), practice, cached.ID, cached.Blob)
	require.NoError(t, err)
	s.fail = errors.New("denied")
	missing := Wrapped{ID: uuid.New(), Blob: "w"}
	_, _, err = r.Get(t.Context(), practice, missing.ID, "w")
	require.ErrorIs(t, err, s.fail)
	_, _, err = r.GetAll(t.Context(), practice, []Wrapped{cached, missing})
	require.ErrorIs(t, err, s.fail)
	require.EqualValues(t, 2, k.holders.Load(), "the cache and this test")
}

func TestDropAndCloseWipe(t *testing.T) {
	r := NewKeyring(&service{}, Options{})
	practice := uuid.New()
	a, b := newKey(t), newKey(t)
	for _, k := range []*Key{a, b} {
		r.Put(practice, k)
		k.Release()
	}
	r.Drop(practice, a.ID())
	require.False(t, a.hold())
	require.True(t, b.hold())
	b.Release()
	r.Close()
	require.False(t, b.hold())
}
