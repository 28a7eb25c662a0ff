//go:build !linux && !darwin

package site

import "io/fs"

func (s *fileStat) addSystem(fs.FileInfo) {}
