package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/policy"
)

// kind is a type of resource in a patient's chart that the API offers as a typed message.
type kind[T proto.Message] struct {
	resourceType string
	collection   string // in names
	view         func(doc []byte) T
	build        func(id, patient uuid.UUID, in T, now time.Time) ([]byte, error)
	patch        func(doc []byte, in T, fields []string) ([]byte, error)
	label        func(T, label)
}

// label is what the store knows of a resource.
type label struct {
	name             string
	created, updated *timestamppb.Timestamp
	etag             string
}

func labelOf(name string, d chart.Document) label {
	return label{name, timestamppb.New(d.Created), timestamppb.New(d.Updated), chart.Etag(d.Version)}
}

func (k kind[T]) show(d chart.Document) T {
	out := k.view(d.JSON)
	k.label(out, labelOf(patients+d.Patient.String()+"/"+k.collection+"/"+d.ID.String(), d))
	return out
}

func (k kind[T]) place(field, name string) (chart.Place, error) {
	list, err := ids(field, name, "patients", k.collection)
	if err != nil {
		return chart.Place{}, err
	}
	return chart.Place{Type: k.resourceType, Patient: list[0], ID: list[1]}, nil
}

func (k kind[T]) get(ctx context.Context, c *chart.Chart, name string) (out T, err error) {
	at, err := k.place("name", name)
	if err != nil {
		return out, err
	}
	d, err := c.Read(ctx, at)
	if err != nil {
		return out, err
	}
	return k.show(d), nil
}

func (k kind[T]) list(ctx context.Context, c *chart.Chart, parent string, size int32, token string) ([]T, string, error) {
	patient, err := patientID("parent", parent)
	if err != nil {
		return nil, "", err
	}
	docs, next, err := c.List(ctx, patient, k.resourceType, chart.Page{Size: int(size), Token: token})
	if err != nil {
		return nil, "", err
	}
	out := make([]T, len(docs))
	for i, d := range docs {
		out[i] = k.show(d)
	}
	return out, next, nil
}

func (k kind[T]) create(ctx context.Context, c *chart.Chart, parent, requestID string, whole proto.Message, in T) (out T, err error) {
	patient, err := patientID("parent", parent)
	if err != nil {
		return out, err
	}
	r, err := request(requestID, whole)
	if err != nil {
		return out, err
	}
	d, err := c.Create(ctx, patient, k.resourceType, r, func(id uuid.UUID, now time.Time) ([]byte, error) {
		return k.build(id, patient, in, now)
	})
	if err != nil {
		return out, err
	}
	return k.show(d), nil
}

func (k kind[T]) update(ctx context.Context, c *chart.Chart, field, name, etag string, mask *fieldmaskpb.FieldMask, in T) (out T, err error) {
	at, err := k.place(field+".name", name)
	if err != nil {
		return out, err
	}
	d, err := update(ctx, c, at, etag, mask, in, k.patch)
	if err != nil {
		return out, err
	}
	return k.show(d), nil
}

func update[T proto.Message](ctx context.Context, c *chart.Chart, at chart.Place, etag string, mask *fieldmaskpb.FieldMask, in T,
	patch func([]byte, T, []string) ([]byte, error),
) (chart.Document, error) {
	fields, err := fhir.Fields(in, mask.GetPaths())
	if err != nil {
		return chart.Document{}, err
	}
	if len(fields) == 0 {
		return chart.Document{}, errs.New(errs.KindInvalid, "UPDATE_EMPTY", "The update changes nothing: set a field, or name one in the update mask to clear it.").
			WithField("update_mask", "names no field that can be changed")
	}
	if err := policy.CheckWrite(caller.ViewOf(ctx), in, fields); err != nil {
		return chart.Document{}, err
	}
	return c.Update(ctx, at, etag, func(doc []byte) ([]byte, error) { return patch(doc, in, fields) })
}

func (k kind[T]) delete(ctx context.Context, c *chart.Chart, name, etag string) error {
	at, err := k.place("name", name)
	if err != nil {
		return err
	}
	return c.Delete(ctx, at, etag)
}
