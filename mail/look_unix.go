//go:build unix

package mail

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether the server has neither said anything nor closed the connection since it was last listened to. It does not wait.
func quiet(socket net.Conn) bool {
	descriptor, ok := socket.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := descriptor.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK) // Go's sockets never block
		silent = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && silent
}
