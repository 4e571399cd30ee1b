//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package signing

import (
	"errors"
	"io/fs"
	"os"
)

const openNonblock = 0

// A system without Unix owners and modes cannot show that nobody else reads the ring.
var errNotUnix = errors.New("key ring files need a Unix system, where their owner and mode can be checked; use another source")

func ownedBy(fs.FileInfo, int) (bool, error) { return false, errNotUnix }

func keepOwner(*os.File, fs.FileInfo) error { return errNotUnix }

func flock(*os.File) (bool, error) { return false, errNotUnix }
