//go:build !linux

package transit

import "syscall"

// dieWithParent has no equivalent outside Linux: there, Stop is what ends the server.
func dieWithParent(*syscall.SysProcAttr) {}
