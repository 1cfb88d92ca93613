package inbox

import (
	_ "embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

const pageSize = 50

//go:embed page.html
var pageSource string

//go:embed inbox.css
var style []byte

var page = template.Must(template.New("page").Funcs(template.FuncMap{"pieces": pieces}).Parse(pageSource))

var link = regexp.MustCompile(`https?://[^\s<>"']+[^\s<>"'.,;:!?)]`)

type view struct {
	Messages     []Message
	Total        int
	Older, Newer int // page numbers, 0 for none
}

// webServer offers the page, /messages.json, and the SMS endpoint.
func webServer(b *box, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { showPage(b, log, w, r) })
	mux.HandleFunc("GET /inbox.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(style)
	})
	mux.HandleFunc("GET /messages.json", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, b.newestFirst())
	})
	mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", func(w http.ResponseWriter, r *http.Request) { postSMS(b, w, r) })
	return &http.Server{
		Handler:           guard(http.NewCrossOriginProtection().Handler(mux)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// guard sets the headers of every answer and refuses foreign host names: the
// messages hold invitations, which a page of another site must not read by
// pointing its own name at this machine.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !loopback(r.Host) {
			http.Error(w, "open this page as http://127.0.0.1 or http://localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func showPage(b *box, log *slog.Logger, w http.ResponseWriter, r *http.Request) {
	all := b.newestFirst()
	number, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || number < 1 {
		number = 1
	}
	from := min((number-1)*pageSize, len(all))
	to := min(from+pageSize, len(all))
	v := view{Messages: all[from:to], Total: len(all), Newer: number - 1}
	if to < len(all) {
		v.Older = number + 1
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, v); err != nil {
		log.Warn("the inbox page was not sent", "error", err)
	}
}

// piece is text, or an address that the page makes a link.
type piece struct {
	Text string
	Link bool
}

func pieces(text string) []piece {
	var out []piece
	at := 0
	for _, span := range link.FindAllStringIndex(text, -1) {
		out = append(out, piece{Text: text[at:span[0]]}, piece{Text: text[span[0]:span[1]], Link: true})
		at = span[1]
	}
	return append(out, piece{Text: text[at:]})
}
