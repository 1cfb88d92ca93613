package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
)

// keyFile is called as in the folder where the audit service keeps its copies.
const keyFile = "verifier.key"

type checkpoint struct {
	kept
	Keep string `type:"path" placeholder:"DIR" help:"Folder to add the checkpoint to, for verify --checkpoints. The first time the log's key goes there as verifier.key; later checkpoints must fit it."`
}

// Run shows or keeps the newest checkpoint.
func (c *checkpoint) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	var newest auditv1.Checkpoint
	if err := client.Call(ctx, http.MethodGet, "/v1/audit/checkpoint", nil, &newest); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if c.Keep == "" {
		fmt.Fprintf(t.out, "%s\nverifier key %s\n", newest.GetNote(), newest.GetVerifierKey())
		return nil
	}
	key, err := c.pinned(t, newest.GetVerifierKey())
	if err != nil {
		return err
	}
	_, keys, err := ledger.ParseKeys(key)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	opened, err := ledger.OpenCheckpoint(newest.GetNote(), keys)
	if err != nil {
		return fmt.Errorf("the checkpoint does not fit the key that was kept; where the log's key was rotated, add its new key %s to %s: %w",
			newest.GetVerifierKey(), filepath.Join(c.Keep, keyFile), err)
	}
	file := filepath.Join(c.Keep, strconv.FormatInt(opened.Size, 10)+ledger.KeptSuffix)
	if err := create(file, newest.GetNote()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the checkpoint: %w", err)
	}
	t.note("%s covers %d entries", file, opened.Size)
	return nil
}

// pinned is the key in the folder; the first time it is the one that the server names.
func (c *checkpoint) pinned(t *terminal, named string) (string, error) {
	if err := os.MkdirAll(c.Keep, 0o750); err != nil {
		return "", fmt.Errorf("keep the checkpoint: %w", err)
	}
	file := filepath.Join(c.Keep, keyFile)
	raw, err := os.ReadFile(file)
	if err == nil {
		return string(raw), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("keep the checkpoint: %w", err)
	}
	if err := create(file, named+"\n"); err != nil {
		return "", fmt.Errorf("keep the key: %w", err)
	}
	t.note("%s is the log's key as the gateway names it; compare it once with that of the audit service", file)
	return named, nil
}

// create writes a file that does not exist yet.
func create(name, content string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Sync(), file.Close())
}
