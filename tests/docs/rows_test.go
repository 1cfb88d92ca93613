package docs

import (
	"regexp"
	"testing"
)

// row says how a command of the documents is exercised.
type row struct {
	// like is the command, or a pattern for several that are exercised alike.
	like string
	do   func(s *terminal, t *testing.T, command string)
	// last is for what the others need not to have happened.
	last bool
}

// rows is the table of all commands. One that must not run inside a test (it
// would run the tests, or change the source tree) is shown to be what CI runs.
var rows = []row{
	// README.md
	{like: `make up`, do: (*terminal).begins},
	{like: `make test`, do: described},
	{like: `make demo`, do: (*terminal).demo},
	{like: `\.bin/carekeep-local totp dr\.smith`, do: (*terminal).totp},
	{like: `\.bin/carekeep --help`, do: (*terminal).help},
	{like: `\.bin/carekeep audit verify --help`, do: (*terminal).help},
	{like: `make bench`, do: described},
	{like: `make lint`, do: described},
	{like: `make generate`, do: described},
	{like: `make help`, do: (*terminal).targets},

	// deploy/local/README.md
	{like: `\.bin/carekeep-local up`, do: (*terminal).again},
	{like: `\.bin/carekeep-local demo`, do: (*terminal).isDemo},
	{like: `\.bin/carekeep-local generate --patients \d+ > bundle\.json`, do: (*terminal).generate},

	// services
	{like: `(auth|records|audit|backup|gateway) serve --config \S+`, do: (*terminal).serves},
	{like: `(auth|records|audit|backup) migrate --config \S+`, do: (*terminal).migrated},
	{like: `auth bootstrap --config \S+ --username root --email \S+`, do: (*terminal).bootstrap},
	{like: `audit export --config FILE --out LOG\.jsonl`, do: (*terminal).exportAll},
	{like: `carekeep audit verify --key verifier\.key --checkpoints COPIES LOG\.jsonl`, do: (*terminal).verifyAll},

	// The command line: README.md and services/ctl/README.md
	{like: `(?:\.bin/)?carekeep sign-in --url https://127\.0\.0\.1:8443 --ca \.data/ca/ca\.crt --username \S+`, do: (*terminal).signsIn},
	{like: `carekeep import bundle\.json`, do: (*terminal).imports},
	{like: `carekeep audit tail`, do: (*terminal).tail},
	{like: `(?:\.bin/)?carekeep audit list(?: .*)?`, do: (*terminal).list},
	{like: `(?:\.bin/)?carekeep audit export --out log\.jsonl`, do: (*terminal).export},
	{like: `(?:\.bin/)?carekeep audit verify --key \S*verifier\.key log\.jsonl`, do: (*terminal).verify},
	{like: `carekeep (?:holds list|retention show|retention purge --dry-run|erasures list|certificate keys)`, do: (*terminal).keeps},
	{like: `carekeep audit verify --key verifier\.key --live \S+`, do: (*terminal).verifyLive},
	{like: `carekeep audit verify --key verifier\.key --checkpoints COPIES --database verify\.yaml`, do: (*terminal).verifyDatabase},
	{like: `carekeep audit (?:detections list --rule SNOOPING|rules list|rules test rules\.yaml --from 168h)`, do: (*terminal).detects},
	{like: `carekeep incidents (?:open|take|phase|action|close) .*`, do: (*terminal).handles},
	{like: `carekeep backup create`, do: (*terminal).backup},
	{like: `(?:\.bin/)?carekeep sign-out`, do: (*terminal).signsOut, last: true},
}

func rowOf(command string) *row {
	for i := range rows {
		if regexp.MustCompile(`^(?:` + rows[i].like + `)$`).MatchString(command) {
			return &rows[i]
		}
	}
	return nil
}

func TestEveryCommandOfTheDocumentsIsRun(t *testing.T) {
	buildOnce(t)
	s := newTerminal(t)
	var last []func()
	for _, name := range manuals(t) {
		for _, command := range commands(read(t, name)) {
			row := rowOf(command)
			if row == nil {
				continue // TestEveryCommandHasARowAndEveryRowACommand says so
			}
			run := func() { t.Run(name+"/"+command, func(t *testing.T) { row.do(s, t, command) }) }
			if row.last {
				last = append(last, run)
				continue
			}
			run()
			if s.place == nil || len(s.ended) > 0 {
				t.Fatalf("nothing more can be run without the suite: %s", s.screen)
			}
		}
	}
	for _, ending := range last {
		ending()
	}
	t.Run("Ctrl-C", s.stop)
}
