// Command witness runs the witness of transparency-dev in memory, for tests of what the audit service says
// to witnesses. It is a module of its own, outside the workspace: its dependencies are large, and touch nothing we ship.
//
//	witness LOG-VERIFIER-KEY
//
// It listens on a free port of 127.0.0.1, prints its URL and its key, a line each, and ends with standard input.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, the log's verifier key, not %d", len(args))
	}
	log, err := note.NewVerifier(args[0])
	if err != nil {
		return err
	}
	secret, public, err := note.GenerateKey(rand.Reader, "witness.test/w1")
	if err != nil {
		return err
	}
	signer, err := fnote.NewSignerForCosignatureV1(secret)
	if err != nil {
		return err
	}
	key, err := fnote.VKeyToCosignatureV1(public)
	if err != nil {
		return err
	}
	w, err := witness.New(context.Background(), witness.Opts{
		Persistence: inmemory.New(), Signers: []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return log, origin == log.Name(), nil
		},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(w).AddCheckpoint)
	fmt.Fprintf(os.Stdout, "http://%s\n%s\n", listener.Addr(), key)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, mux)
}
