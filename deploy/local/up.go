package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

// dataFlag is the folder that up, demo and totp share.
type dataFlag struct {
	Data string `default:".data" type:"path" env:"CAREKEEP_DATA" help:"Folder of the stack's data."`
}

// programsFlag is the folder of the programs that up and demo run.
type programsFlag struct {
	Programs string `type:"path" env:"CAREKEEP_PROGRAMS" help:"Folder of the programs, built where they are missing or older than their sources; by default .bin of the source tree."`
}

type upCommand struct {
	dataFlag
	programsFlag
	stack.Ports
}

// Run runs the stack until it is told to stop.
func (c *upCommand) Run(ctx context.Context, out io.Writer) error {
	say(out, "Starting carekeep.\n")
	if _, err := os.Stat(c.Data); err != nil {
		say(out, "The first start builds and sets up everything, which takes minutes; the next ones take seconds.\n")
	}
	s, err := stack.Start(ctx, stack.Options{Dir: c.Data, Ports: c.Ports, Binaries: c.Programs, Stdout: out})
	if ctx.Err() != nil {
		say(out, "Stopped.\n")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		say(out, "Stopping; press Ctrl-C again to end everything at once.\n")
		s.Close()
		say(out, "Stopped.\n")
	}()
	begun := time.Now()
	people, err := seed.Run(ctx, s.Place)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	say(out, "  %-16s ready in %s\n", "people", time.Since(begun).Round(time.Millisecond))
	if err := welcome(out, s.Place, people); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func welcome(out io.Writer, place *stack.Place, people *seed.Credentials) error {
	say(out, `
carekeep is ready.

  API            %s
  Documentation  %s/docs
  Sign-in page   %s/sign-in
  Inbox          %s   (mail and text messages)
  Authority      %s
  Users          %s

`, place.URL(), place.URL(), place.PageURL(), place.InboxURL(), relative(place.CAFile()), relative(place.Credentials()))
	for _, name := range []string{seed.Admin, seed.Smith} {
		p := people.Person(name)
		code, err := api.Code(p.TotpSecret, time.Now())
		if err != nil {
			return err
		}
		say(out, "  %-16s %-16s password %s   code now %s\n  %-16s %s\n", p.DisplayName, p.Username, p.Password, code, "", otpauth(p))
	}
	say(out, `
Sign in on the command line, which asks for password and code:

  %s sign-in --url %s --ca %s --username %s

Or over REST; the answer holds a session token for "Authorization: Bearer":

  curl --cacert %s %s/v1/auth:signIn -H 'Content-Type: application/json' \
    -d "{\"username\":\"%s\",\"password\":\"%s\",\"totpCode\":\"$(%s %s)\"}"

Play the story with "make demo" in another terminal. Ctrl-C stops everything.
`, relative(place.Binary("carekeep")), place.URL(), relative(place.CAFile()), seed.Admin,
		relative(place.CAFile()), place.URL(), seed.Smith, people.Person(seed.Smith).Password, totpCall(place), seed.Smith)
	return nil
}

// totpCall is how to ask for the code of somebody of this stack.
func totpCall(place *stack.Place) string {
	call := relative(place.Binary("carekeep-local")) + " totp"
	if dir := relative(place.Dir); dir != ".data" {
		call += " --data " + dir
	}
	return call
}

// otpauth is the secret as an authenticator app takes it.
func otpauth(p *seed.Person) string {
	return "otpauth://totp/carekeep:" + p.Username + "?secret=" + p.TotpSecret + "&issuer=carekeep"
}

// relative shortens a path below the working directory.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(short, "..") {
		return path
	}
	return short
}

// say prints for the person at the terminal. Where that is gone, there is nobody
// left to tell.
func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }
