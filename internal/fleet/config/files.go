package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pennyfarthing/internal/mistake"
)

// CheckFiles returns what is wrong with the directories that f, which comes from
// [Load], names: the files of sites and of apps. It looks, and changes nothing.
func CheckFiles(f *Fleet) mistake.List {
	var list mistake.List
	check := func(path string, at Position) {
		if path == "" {
			return
		}
		if wrong := directoryFlaw(path); wrong != nil {
			list.Add(&mistake.Error{File: f.File, Line: at.Line, Column: at.Column, What: "`files`: " + wrong.what, Hint: wrong.hint})
		}
	}
	for _, site := range f.Sites {
		check(site.Files, site.FilesAt)
		if site.App != nil {
			check(site.App.Files, site.App.FilesAt)
		}
	}
	return list
}

// directoryFlaw returns why path is not a directory that can be read, or nil.
func directoryFlaw(path string) *flaw {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &flaw{fmt.Sprintf("there is no directory %s", path), "create it, or build the site first"}
	case err == nil && !info.IsDir():
		return &flaw{fmt.Sprintf("%s is not a directory", path), "name the directory that holds the files"}
	case err == nil:
		_, err = os.ReadDir(path)
	}
	if err != nil {
		return &flaw{fmt.Sprintf("the directory %s cannot be read: %v", path, errors.Unwrap(err)), ""}
	}
	return nil
}
