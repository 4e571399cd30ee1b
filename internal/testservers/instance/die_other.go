//go:build !linux

package instance

import "syscall"

// dieWithParent does nothing: only Linux ends children with their parent.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
