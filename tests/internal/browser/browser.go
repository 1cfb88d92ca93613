// Package browser runs a headless Chromium against the gateway of a stack, and
// reports whatever a page did that its policy forbids. It knows no page.
package browser

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/chromium"
)

// limit bounds one step, on a machine with other work.
const limit = 90 * time.Second

// Tab is one page of a browser with a profile of its own.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// Options say what a browser trusts and where it is.
type Options struct {
	// Certificates are files: their keys are trusted, and no others that the machine does not trust.
	Certificates []string
	// From is the loopback address that it connects from, as another device would; empty: any.
	From string
}

// New starts a browser, which ends with the test.
func New(t *testing.T, o Options) *Tab {
	t.Helper()
	found, err := chromium.Find()
	require.NoError(t, err)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(found.Path), chromedp.Env(found.Env...),
		chromedp.Flag("ignore-certificate-errors-spki-list", pins(t, o.Certificates)))
	if o.From != "" {
		// Without the second flag no proxy is asked for loopback addresses.
		options = append(options, chromedp.ProxyServer(proxy(t, o.From)), chromedp.Flag("proxy-bypass-list", "<-loopback>"))
	}
	if os.Geteuid() == 0 {
		// Chromium's sandbox refuses root; in a test there is nothing to protect.
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stopBrowser := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stopBrowser)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	tab := &Tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, tab.listen))
	Call(tab, log.Enable, cdp.Empty{})
	Call(tab, runtime.Enable, cdp.Empty{})
	return tab
}

func pins(t *testing.T, files []string) string {
	var pins []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		block, _ := pem.Decode(raw)
		require.NotNil(t, block, file)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
		pins = append(pins, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return strings.Join(pins, ",")
}

// listen keeps what a page should never cause. Answers that are errors are the
// page's own business.
func (b *Tab) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level == log.EntryLevelError {
			problem = fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			problem = "console.error"
		}
	}
	if problem != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, problem)
	}
}

// Problems returns what went wrong on pages so far: violated policies, exceptions.
func (b *Tab) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.problems...)
}

// Do does something in the tab.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(err)
	}
}

// Fill types into fields, over what is there: id, text, id, text.
func (b *Tab) Fill(pairs ...string) {
	b.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		b.Do(chromedp.WaitVisible(chromedp.ID(pairs[i])))
		Eval[string](b, fmt.Sprintf(`document.getElementById(%q).value = ""`, pairs[i]))
		b.Do(chromedp.SendKeys(chromedp.ID(pairs[i]), pairs[i+1]))
	}
}

// Keys presses keys, wherever the focus is.
func (b *Tab) Keys(keys string) {
	b.t.Helper()
	b.Do(chromedp.KeyEvent(keys))
}

// Click clicks what a CSS selector finds.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.Do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Text is the text of an element that is shown.
func (b *Tab) Text(id string) string {
	b.t.Helper()
	return strings.TrimSpace(Eval[string](b, fmt.Sprintf("document.getElementById(%q).innerText", id)))
}

// Picture is a PNG of what a CSS selector finds, as it is shown.
func (b *Tab) Picture(selector string) []byte {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	picture, err := chromedp.Run(ctx, chromedp.Screenshot(chromedp.CSS(selector)))
	require.NoError(b.t, err, selector)
	return picture
}

// Until waits until an expression is true. A page's policy forbids what chromedp's Poll
// does in the page. A page that is only loading, where there is nothing yet to look at, is not there yet.
func (b *Tab) Until(expression string) {
	b.t.Helper()
	give := time.After(limit)
	for {
		held, err := evaluate[bool](b, expression)
		if held {
			return
		}
		select {
		case <-give:
			b.fail(errors.Join(fmt.Errorf("%s never came true", expression), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *Tab) fail(err error) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	shown, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText")) // a page that is gone shows nothing
	b.t.Fatalf("%v; problems %q; the page shows:\n%s", err, b.Problems(), shown)
}

// Eval runs an expression in the page, awaits it where it is a promise, and reads its value.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	value, err := evaluate[T](b, expression)
	require.NoError(b.t, err, expression)
	return value
}

func evaluate[T any](b *Tab, expression string) (T, error) {
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Call runs a command of the DevTools protocol on the tab.
func Call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, limit)
	defer stop()
	result, err := chromedp.Call(ctx, command, params)
	require.NoError(b.t, err, command.Method)
	return result
}
