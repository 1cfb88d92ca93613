package stack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/carekeep/carekeep/deploy/local/inbox"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/transit"
)

// layers are the parts in the order in which they are stopped, side by side
// within a layer: who calls goes before who is called.
var layers = [][]string{{"gateway"}, {"auth", "records", "audit", "backup"}, {"broker", "transit"}, {"postgres"}}

// steps is what starting a stack means. Services need their tables before they
// start, and nothing else: for the rest they wait by themselves, and say so when
// asked for their health.
func (s *Stack) steps() []step {
	steps := []step{
		{"programs", nil, func(ctx context.Context) error { return build(ctx, s.Binaries, s.say) }},
		{"inbox", nil, s.openInbox},
		{"postgres", nil, s.startPostgres},
		{"transit", nil, s.begin("transit")},
		{"broker", []string{"programs"}, s.begin("broker")},
		// The gateway could start at any time; after the others it connects at once
		// instead of backing off first.
		{"gateway", services, s.begin("gateway")},
	}
	for _, service := range services {
		steps = append(steps,
			step{service + " tables", []string{"programs", "postgres"}, func(ctx context.Context) error { return s.migrate(ctx, service) }},
			step{service, []string{service + " tables"}, s.begin(service)})
	}
	return steps
}

func (s *Stack) begin(name string) func(context.Context) error { return s.part(name).begin }

// assemble makes every part, without starting it.
func (s *Stack) assemble() error {
	var broken error
	log := func(name string) *logFile {
		l, err := s.openLog(name)
		if err != nil {
			broken = err
		}
		return l
	}
	add := func(name string, run runner, ready func(context.Context) error) {
		s.parts[name] = &part{name: name, run: run, ready: ready, say: s.say}
	}
	server := &database{opts: postgres.Options{
		Dir: s.path("postgres"), Port: s.Ports.Postgres, CA: s.authority, Log: slog.New(slog.NewJSONHandler(log("postgres"), nil)),
		NoSync: s.opts.Dir == "" && !s.opts.Durable,
	}}
	add("postgres", server, server.ready)
	keys := log("transit")
	add("transit", &engine{log: keys, opts: transit.Options{
		Dir: s.TransitData(), Port: s.Ports.Transit, CA: s.authority,
		Log: slog.New(slog.NewTextHandler(keys, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}, s.transitReady)
	add("broker", &child{log: log("broker"), path: s.Binary("carekeep-local"), args: []string{
		"broker", "--dir", s.BrokerData(), "--port", strconv.Itoa(s.Ports.Broker), "--authority", s.path("ca"),
	}}, s.brokerReady)
	for _, name := range services {
		add(name, s.serve(name, log(name)), s.serviceReady(name))
	}
	add("gateway", s.serve("gateway", log("gateway")), s.gatewayReady)
	return broken
}

func (s *Stack) serve(name string, log *logFile) *child {
	return &child{log: log, path: s.Binary(name), args: []string{"serve", "--config", s.ConfigFile(name)}}
}

// openLog opens a part's log. What it warns of is shown once all parts serve;
// while they start they only miss each other.
func (s *Stack) openLog(name string) (*logFile, error) {
	l, err := openLog(filepath.Join(s.Logs(), name+".log"), func(line string) {
		if s.settled.Load() || name == "postgres" {
			s.say("%-16s %s", name, line)
		}
	})
	if err == nil {
		s.logs = append(s.logs, l)
	}
	return l, err
}

func (s *Stack) openInbox(context.Context) error {
	log, err := s.openLog("inbox")
	if err != nil {
		return err
	}
	s.inbox, err = inbox.Start(inbox.Options{
		File: s.path("inbox.jsonl"), MailPort: s.Ports.Mail, WebPort: s.Ports.Inbox, Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	return err
}

func (s *Stack) migrate(ctx context.Context, service string) error {
	cmd := exec.CommandContext(ctx, s.Binary(service), "migrate", "--config", s.ConfigFile(service+"-migrate"))
	out, err := cmd.CombinedOutput()
	if writeErr := os.WriteFile(filepath.Join(s.Logs(), service+"-migrate.log"), out, 0o600); writeErr != nil {
		return fmt.Errorf("migrate %s: %w", service, writeErr)
	}
	if err != nil {
		return fmt.Errorf("migrate %s: %w\n%s", service, err, indent(string(out)))
	}
	return nil
}
