package places_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/records/internal/places"
)

func TestOneUserLeavesRoomForOthers(t *testing.T) {
	crowded, yourOwn := errors.New("crowded"), errors.New("your own")
	p := places.New(places.Options{Limit: 3, Each: 2, Crowded: crowded, YourOwn: yourOwn})
	ann := places.Person{Practice: uuid.New(), User: uuid.New()}
	namesake := places.Person{Practice: uuid.New(), User: ann.User}
	leave, err := p.Take(ann)
	require.NoError(t, err)
	_, err = p.Take(ann)
	require.NoError(t, err)
	_, err = p.Take(ann)
	require.ErrorIs(t, err, yourOwn)
	_, err = p.Take(namesake)
	require.NoError(t, err, "a user of another practice is somebody else")
	_, err = p.Take(namesake)
	require.ErrorIs(t, err, crowded)
	leave()
	_, err = p.Take(namesake)
	require.NoError(t, err)
	_, err = p.Take(ann)
	require.ErrorIs(t, err, crowded)
}
