//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps opening from waiting when somebody put a pipe where the ring should be.
const openNonblock = syscall.O_NONBLOCK

var errNoOwner = errors.New("the file system tells no owner; put the key ring on another one")

// ownedBy reports whether the file belongs to the user or to root.
func ownedBy(info fs.FileInfo, user int) (bool, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false, errNoOwner
	}
	return stat.Uid == 0 || int(stat.Uid) == user, nil
}

// keepOwner gives file the mode and the owner of the one it will replace, so that a ring which root rotates stays readable
// for the application's user.
func keepOwner(file *os.File, like fs.FileInfo) error {
	if like == nil {
		return nil
	}
	old, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return errNoOwner
	}
	if err := file.Chmod(like.Mode().Perm()); err != nil {
		return fmt.Errorf("keep the mode: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil // only root may give files away, and a root-owned ring becomes this user's
	}
	if err := file.Chown(int(old.Uid), int(old.Gid)); err != nil {
		return fmt.Errorf("keep the owner: %w", err)
	}
	return nil
}

// flock locks the file for this open file alone, and reports false when another holds the lock. Closing the file unlocks it.
func flock(file *os.File) (bool, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("flock: %w", err)
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) {
		for {
			lockErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB)
			if !errors.Is(lockErr, syscall.EINTR) {
				return
			}
		}
	}); err != nil {
		return false, fmt.Errorf("flock: %w", err)
	}
	if errors.Is(lockErr, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if lockErr != nil {
		return false, fmt.Errorf("flock: %w", lockErr)
	}
	return true, nil
}
