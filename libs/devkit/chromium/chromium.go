// Package chromium finds the browser that tests of the gateway's pages run. It
// starts none: chromedp does.
package chromium

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/carekeep/carekeep/libs/devkit"
)

// unpacked is where deploy/local/install.sh puts the Debian packages it may not install.
const unpacked = ".tools/chromium"

// Browser is a Chromium or Chrome on this machine.
type Browser struct {
	Path string
	// Env is what the program needs in its environment besides our own.
	Env []string
}

// Find looks on PATH, then where install.sh unpacks the browser for users without rights.
func Find() (Browser, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return Browser{Path: path}, nil
		}
	}
	return in(filepath.Join(devkit.Root(), unpacked))
}

func in(top string) (Browser, error) {
	path := filepath.Join(top, "usr/lib/chromium/chromium")
	if _, err := os.Stat(path); err != nil {
		return Browser{}, errors.New("no Chromium on this machine: run `make install`, or put chromium on PATH")
	}
	folders, _ := filepath.Glob(filepath.Join(top, "usr/lib/*-linux-gnu*"))
	return Browser{Path: path, Env: []string{
		"LD_LIBRARY_PATH=" + strings.Join(folders, ":"), "FONTCONFIG_FILE=" + filepath.Join(top, "fonts.conf"),
	}}, nil
}
