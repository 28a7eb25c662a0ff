package keys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"pennyfarthing/internal/mistake"
)

// maxFile is more than any chain of certificates needs, in bytes.
const maxFile = 1 << 20

// readSmall reads a file of at most maxFile bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, &mistake.Error{File: path, What: fmt.Sprintf("has more than %d bytes, so it is neither a certificate nor a key", maxFile)}
	}
	return data, nil
}

// writeFile writes a file so that it is there either as before or as a whole,
// whatever happens. The caller holds the directory's lock, so that the temporary
// name is free.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temp := path + ".tmp"
	// What a killed process left may have another mode.
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp))
	}
	return rename(temp, path)
}

// rename renames within a directory, and has the directory on disk when it
// returns.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkSecret refuses a key that other users can read. On Windows the mode says
// nothing about that.
func checkSecret(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &mistake.Error{
			File: path,
			What: fmt.Sprintf("other users can use this key: its mode is %04o", mode),
			Hint: "chmod 600 " + quoteFor(runtime.GOOS, path),
		}
	}
	return nil
}
