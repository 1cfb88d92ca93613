// Package devkit finds things in the source tree for the development and test
// servers below it. Nothing that ships imports it or what is below it.
package devkit

import (
	"os"
	"path/filepath"
	"sync"
)

// Root is the repository's root folder, found by walking up from the working
// directory to go.work. It panics outside the source tree: devkit works on it only.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic("devkit: " + err.Error())
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			panic("devkit: no go.work above the working directory; run inside the carekeep source tree")
		}
		dir = up
	}
})
