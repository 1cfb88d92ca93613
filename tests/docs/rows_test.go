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
}

// rows is the table of all commands. One that must not run inside a test (it
// would run the tests, or change the source tree) is shown to be what CI runs.
var rows = []row{
	// README.md
	{`make up`, (*terminal).begins},
	{`make test`, described},
	{`make demo`, (*terminal).demo},
	{`\.bin/carekeep-local totp dr\.smith`, (*terminal).totp},
	{`\.bin/carekeep --help`, (*terminal).help},
	{`\.bin/carekeep audit verify --help`, (*terminal).help},
	{`make bench`, described},
	{`make lint`, described},
	{`make generate`, described},
	{`make help`, (*terminal).targets},

	// deploy/local/README.md
	{`\.bin/carekeep-local up`, (*terminal).again},
	{`\.bin/carekeep-local demo`, (*terminal).isDemo},
	{`\.bin/carekeep-local generate --patients \d+ > bundle\.json`, (*terminal).generate},

	// services
	{`(auth|records|audit|backup|gateway) serve --config \S+`, (*terminal).serves},
	{`(auth|records|audit|backup) migrate --config \S+`, (*terminal).migrated},
	{`auth bootstrap --config \S+ --username root --email \S+`, (*terminal).bootstrap},
	{`audit export --config FILE --out LOG\.jsonl`, (*terminal).exportAll},
	{`carekeep audit verify --key verifier\.key --checkpoints COPIES LOG\.jsonl`, (*terminal).verifyAll},

	// The command line: README.md and services/ctl/README.md
	{`(?:\.bin/)?carekeep sign-in --url https://127\.0\.0\.1:8443 --ca \.data/ca/ca\.crt --username \S+`, (*terminal).signsIn},
	{`carekeep import bundle\.json`, (*terminal).imports},
	{`carekeep audit tail`, (*terminal).tail},
	{`(?:\.bin/)?carekeep audit list(?: .*)?`, (*terminal).list},
	{`(?:\.bin/)?carekeep audit export --out log\.jsonl`, (*terminal).export},
	{`(?:\.bin/)?carekeep audit verify --key \S*verifier\.key log\.jsonl`, (*terminal).verify},
	{`carekeep backup create`, (*terminal).backup},
	{`(?:\.bin/)?carekeep sign-out`, (*terminal).signsOut},
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
	for _, name := range manuals(t) {
		for _, command := range commands(read(t, name)) {
			row := rowOf(command)
			if row == nil {
				continue // TestEveryCommandHasARowAndEveryRowACommand says so
			}
			t.Run(name+"/"+command, func(t *testing.T) { row.do(s, t, command) })
			if s.place == nil || len(s.ended) > 0 {
				t.Fatalf("nothing more can be run without the suite: %s", s.screen)
			}
		}
	}
	t.Run("Ctrl-C", s.stop)
}
