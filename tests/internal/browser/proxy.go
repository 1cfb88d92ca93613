package browser

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy passes connections on from a loopback address of its own, unread, and returns its URL.
func proxy(t *testing.T, from string) string {
	t.Helper()
	dialer := net.Dialer{Timeout: limit, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, port, err := net.SplitHostPort(r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		up, err := dialer.DialContext(r.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer up.Close() //nolint:errcheck // either side may have closed it
		w.WriteHeader(http.StatusOK)
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer down.Close() //nolint:errcheck // either side may have closed it
		go func() {
			_, _ = io.Copy(up, buffered)
			// Ends the copy below too.
			_ = up.SetDeadline(time.Now())
		}()
		_, _ = io.Copy(down, up)
	}))
	t.Cleanup(server.Close)
	// What Chromium could reach, it is to reach through here.
	probe, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(from)})
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	return server.URL
}
