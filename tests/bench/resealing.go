package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/tests/internal/mesh"
)

// patientsPerSecond is how many patients' data keys are replaced for each second of the
// measurement: more than the default limit of 200 documents a second gets through.
const patientsPerSecond = 30

// resealing shows what readers notice of a background re-encryption at its default speed.
func (b *bench) resealing(ctx context.Context) error {
	read := b.readFrom(b.records)
	quiet, err := closedLoop(ctx, b.opts.Clients, b.opts.Length, read)
	if err != nil {
		return fmt.Errorf("reads: %w", err)
	}
	keys := recordsv1.NewKeysServiceClient(b.conn)
	keeper := b.doctor
	keeper.Permissions.Add(accessv1.Permission_PERMISSION_KEYS_ROTATE)
	keeper.Permissions.Add(accessv1.Permission_PERMISSION_KEYS_READ)
	ids := b.ids()
	for i := range min(len(ids), int(b.opts.Length.Seconds()*patientsPerSecond)) {
		ctx, err := mesh.With(ctx, b.signer, keeper)
		if err != nil {
			return err
		}
		if _, err := keys.RotateDataKey(ctx, &recordsv1.RotateDataKeyRequest{Patient: "patients/" + ids[i]}); err != nil {
			return fmt.Errorf("replace a data key: %w", err)
		}
	}
	busy, err := closedLoop(ctx, b.opts.Clients, b.opts.Length, read)
	if err != nil {
		return fmt.Errorf("reads beside the re-encryption: %w", err)
	}
	if ctx, err = mesh.With(ctx, b.signer, keeper); err != nil {
		return err
	}
	status, err := keys.GetKeyStatus(ctx, &recordsv1.GetKeyStatusRequest{})
	if err != nil {
		return fmt.Errorf("state of the re-encryption: %w", err)
	}
	if len(status.GetRunningJobs()) == 0 {
		return errors.New("the re-encryption was done before the measurement: take more --patients")
	}
	// 0.667: the slowest hundredth of reads takes at most half as long again.
	row{"read beside a running re-encryption, by its p99", "/s", "without it", 1 / busy.p99.Seconds(), 1 / quiet.p99.Seconds(), 0.667,
		fmt.Sprintf("%d clients; %s against %s", b.opts.Clients, latency(busy), latency(quiet))}.write(os.Stdout)
	return nil
}
