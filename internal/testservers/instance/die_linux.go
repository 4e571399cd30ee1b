package instance

import "syscall"

// dieWithParent makes the kernel send sig to the server when this process dies in
// a way that runs no cleanup: a test's timeout, a panic, SIGKILL.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
