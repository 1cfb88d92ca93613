package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/carekeep/carekeep/deploy/local/generator"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/transit"
)

// fieldsPerPatient is how many sealed fields a patient has where each field is
// encrypted by itself: names, birth date, sex, phone, four of the address, two identifiers, language, marital status.
const fieldsPerPatient = 12

type operation = func(ctx context.Context, client, n int) error

// callers gives each client a token of its own that stays valid.
func (b *bench) callers() []tokens {
	all := make([]tokens, b.opts.Clients)
	for i := range all {
		all[i].b = b
	}
	return all
}

// readFrom reads one patient's raw FHIR after the other. plain needs no caller,
// but carries the same bytes of token, which the wire has to move on both sides.
func (b *bench) readFrom(client recordsv1.RecordsServiceClient) operation {
	ids, callers := b.ids(), b.callers()
	return func(ctx context.Context, client_, n int) error {
		ctx, err := callers[client_].with(ctx)
		if err != nil {
			return err
		}
		answer, err := client.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "Patient", Id: ids[(client_*9973+n)%len(ids)]})
		if err != nil {
			return err
		}
		if len(answer.GetData()) < 500 {
			return fmt.Errorf("a patient of %d bytes", len(answer.GetData()))
		}
		return nil
	}
}

// reads is figure (a), reading.
func (b *bench) reads(ctx context.Context) error {
	got, err := contest(ctx, b.opts.Clients, b.opts.Length, b.opts.Rounds, b.readFrom(b.records), b.readFrom(b.plain))
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	row{"(a) read, sealed + authorised + audited", "/s", "plaintext", got[0].perSecond, got[1].perSecond, 0.6,
		fmt.Sprintf("%d clients, gRPC; %s against %s", b.opts.Clients, latency(got[0]), latency(got[1]))}.write(os.Stdout)
	return b.readsAlone(ctx)
}

// readsAlone shows the latency that one client sees, which group commit cannot hide.
func (b *bench) readsAlone(ctx context.Context) error {
	got, err := contest(ctx, 1, b.opts.Length, 1, b.readFrom(b.records), b.readFrom(b.plain))
	if err != nil {
		return fmt.Errorf("read with one client: %w", err)
	}
	// 0.4: half of the requests of one client take at most 2.5 times as long.
	row{"(a) the same with one client, by its p50", "/s", "plaintext", 1 / got[0].p50.Seconds(), 1 / got[1].p50.Seconds(), 0.4,
		fmt.Sprintf("%s against %s", latency(got[0]), latency(got[1]))}.write(os.Stdout)
	return nil
}

// writeTo changes one patient's birth date after the other.
func (b *bench) writeTo(client recordsv1.RecordsServiceClient) operation {
	ids, callers := b.ids(), b.callers()
	mask := &fieldmaskpb.FieldMask{Paths: []string{"birth_date"}}
	// Each client has patients of its own, and knows the etag that its last write returned.
	etags := make([]map[string]string, b.opts.Clients)
	for i := range etags {
		etags[i] = map[string]string{}
	}
	return func(ctx context.Context, own, n int) error {
		ctx, err := callers[own].with(ctx)
		if err != nil {
			return err
		}
		share := len(ids) / b.opts.Clients
		id := ids[own*share+n%share]
		etag, known := etags[own][id]
		if !known {
			current, err := client.GetPatient(ctx, &recordsv1.GetPatientRequest{Name: "patients/" + id})
			if err != nil {
				return err
			}
			etag = current.GetEtag()
		}
		changed, err := client.UpdatePatient(ctx, &recordsv1.UpdatePatientRequest{
			Patient:    &recordsv1.Patient{Name: "patients/" + id, Etag: etag, BirthDate: "19" + strconv.Itoa(10+n%90) + "-02-03"},
			UpdateMask: mask,
		})
		if err != nil {
			return err
		}
		etags[own][id] = changed.GetEtag()
		return nil
	}
}

// writes is figure (a), writing.
func (b *bench) writes(ctx context.Context) error {
	got, err := contest(ctx, b.opts.Clients, b.opts.Length, b.opts.Rounds, b.writeTo(b.records), b.writeTo(b.plain))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	row{"(a) write, sealed + authorised + audited + history + index", "/s", "plaintext", got[0].perSecond, got[1].perSecond, 0.5,
		fmt.Sprintf("%d clients, gRPC; %s against %s", b.opts.Clients, latency(got[0]), latency(got[1]))}.write(os.Stdout)
	return nil
}

// perField is figure (b): what it takes to open a patient, with a data key that
// stays in memory, and with a call of transit for each field.
func (b *bench) perField(ctx context.Context) error {
	source, err := b.stack.Source("records")
	if err != nil {
		return err
	}
	client, err := transit.New(transit.Config{Address: "https://" + b.stack.Address("transit"), Role: "records"}, source)
	if err != nil {
		return err
	}
	defer client.Close()
	key := "practice-" + b.doctor.Practice.String()
	sealed, err := client.Encrypt(ctx, key, [][]byte{[]byte("1 Main Street")})
	if err != nil {
		return fmt.Errorf("per field: %w", err)
	}
	each := func(ctx context.Context, _, _ int) error {
		for range fieldsPerPatient {
			if _, err := client.Decrypt(ctx, key, sealed); err != nil {
				return err
			}
		}
		return nil
	}
	opened, err := openPatient(client, key)
	if err != nil {
		return fmt.Errorf("per field: %w", err)
	}
	got, err := contest(ctx, b.opts.Clients, b.opts.Length, b.opts.Rounds, opened, each, b.readFrom(b.records))
	if err != nil {
		return fmt.Errorf("per field: %w", err)
	}
	name := fmt.Sprintf("transit call for each of %d fields", fieldsPerPatient)
	row{"(b) open a patient with the data key in memory", "/s", name, got[0].perSecond, got[1].perSecond, 20,
		fmt.Sprintf("%s against %s", latency(got[0]), latency(got[1]))}.write(os.Stdout)
	row{"(b) the whole audited read against that decryption alone", "/s", name, got[2].perSecond, got[1].perSecond, 0,
		"the baseline neither reads rows nor records anything"}.write(os.Stdout)
	return nil
}

// openPatient opens one sealed document of a patient's usual size, through the
// key cache that records uses. The data key was unwrapped by transit once.
func openPatient(client *transit.Client, name string) (operation, error) {
	ctx := context.Background()
	_, wrapped, err := client.DataKey(ctx, name)
	if err != nil {
		return nil, err
	}
	practice, id := uuid.MustParse(strings.TrimPrefix(name, "practice-")), uuid.Must(uuid.NewV7())
	ring := envelope.NewKeyring(client, envelope.Options{})
	key, _, err := ring.Get(ctx, practice, id, wrapped)
	if err != nil {
		return nil, err
	}
	defer key.Release()
	binding := envelope.Binding{Practice: practice, Patient: uuid.Must(uuid.NewV7()), Type: "Patient", ID: id, Version: 1, KeyID: id}
	sealed, err := key.Seal(binding, generator.Resources(generator.Patient(population, 0))[0].JSON)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _, _ int) error {
		key, _, err := ring.Get(ctx, practice, id, wrapped)
		if err != nil {
			return err
		}
		defer key.Release()
		_, err = key.Open(binding, sealed)
		return err
	}, nil
}
