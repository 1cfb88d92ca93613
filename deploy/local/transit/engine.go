package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

// mount is where the engine answers, as in `vault secrets enable transit`.
const mount = "transit/"

// engine is HashiCorp's transit backend with the little around it that Vault's core gives.
type engine struct {
	backend logical.Backend
	storage logical.Storage
}

func newEngine(ctx context.Context, storage logical.Storage) (*engine, error) {
	backend, err := transit.Factory(ctx, &logical.BackendConfig{
		StorageView: storage,
		Logger:      hclog.NewNullLogger(), // the audit log is the record; the engine's own log may name keys
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour},
		BackendUUID: "carekeep-local-transit",
		Config:      map[string]string{},
	})
	if err != nil {
		return nil, err
	}
	return &engine{backend, storage}, backend.Initialize(ctx, &logical.InitializationRequest{Storage: storage})
}

// operation settles a write as Vault's core does: create where the path tells whether
// the thing exists and it does not, update in all other cases.
func (e *engine) operation(ctx context.Context, req *logical.Request) (logical.Operation, error) {
	if req.Operation != logical.UpdateOperation {
		return req.Operation, nil
	}
	checked, exists, err := e.backend.HandleExistenceCheck(ctx, e.local(req))
	if err != nil {
		return "", err
	}
	if checked && !exists {
		return logical.CreateOperation, nil
	}
	return logical.UpdateOperation, nil
}

func (e *engine) handle(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	return e.backend.HandleRequest(ctx, e.local(req))
}

// local is the request as the engine sees it: below its mount, with its storage.
func (e *engine) local(req *logical.Request) *logical.Request {
	inner := *req
	inner.Path = req.Path[len(mount):]
	inner.MountPoint, inner.MountType = mount, "transit"
	inner.Storage = e.storage
	return &inner
}
