//go:build !linux

package postgres

import "syscall"

// dieWithParent has no equivalent outside Linux: there, Stop is what ends the server.
func dieWithParent(*syscall.SysProcAttr) {}
