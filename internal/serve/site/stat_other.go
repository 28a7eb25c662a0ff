//go:build !linux && !darwin

package site

import (
	"io/fs"
	"os"
)

const openFlags = os.O_RDONLY

func (s *fileStat) addSystem(fs.FileInfo) {}
