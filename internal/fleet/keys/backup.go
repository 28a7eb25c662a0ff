package keys

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"pennyfarthing/internal/mistake"
)

// A backup is an age file (age-encryption.org/v1), encrypted with a passphrase, of a tar
// archive: so it opens with the programs age and tar also. What is first in the archive
// says what it is.
const (
	backupVersion  = 1
	backupHead     = "penny-backup.json"
	maxBackup      = 64 << 20 // bytes of the archive
	maxBackupFiles = 5000     // members' keys are most of them
)

// A BackupInfo says what is in a backup.
type BackupInfo struct {
	Version int       `json:"version"`
	Fleet   string    `json:"fleet"`
	Time    time.Time `json:"time"`
	Files   int       `json:"files"`
	// Owner reports whether the owner's key is among them: it may be kept elsewhere.
	Owner bool `json:"owner"`
}

// BackupOptions say what is backed up. All but Work are required.
type BackupOptions struct {
	StateDir   string
	Fleet      string
	Passphrase string
	Work       int // binary logarithm of scrypt's N, 1 to 20; 0: 17
	Now        func() time.Time
}

// Backup writes everything of a fleet's directory that cannot be made again: keys, the
// CA, the roster, members, where the POPs are. What is only remembered of the POPs is
// not in it. The owner's key stays encrypted with its own passphrase if it is.
func Backup(w io.Writer, o BackupOptions) (BackupInfo, error) {
	recipient, err := recipientOf(o.Passphrase, cmp.Or(o.Work, sealWork))
	if err != nil {
		return BackupInfo{}, err
	}
	state, _, err := FindFleet(o.StateDir, o.Fleet)
	if err != nil {
		return BackupInfo{}, err
	}
	files, err := collectBackup(state.Dir)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("back up the fleet %s: %w", o.Fleet, err)
	}
	info := BackupInfo{Version: backupVersion, Fleet: o.Fleet, Time: wholeSeconds(o.Now()), Files: len(files), Owner: !state.Offline}
	head, err := json.Marshal(info)
	if err != nil {
		return BackupInfo{}, err
	}
	sealed, err := age.Encrypt(w, recipient)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("back up the fleet %s: %w", o.Fleet, err)
	}
	archive := tar.NewWriter(sealed)
	for _, f := range append([]backupFile{{backupHead, head}}, files...) {
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Mode: 0o600, ModTime: info.Time})
		if err == nil {
			_, err = archive.Write(f.data)
		}
		if err != nil {
			return BackupInfo{}, fmt.Errorf("back up %s: %w", f.name, err)
		}
	}
	if err := errors.Join(archive.Close(), sealed.Close()); err != nil {
		return BackupInfo{}, fmt.Errorf("back up the fleet %s: %w", o.Fleet, err)
	}
	return info, nil
}

// A backupFile is one file of a fleet's directory. Its name has slashes.
type backupFile struct {
	name string
	data []byte
}

// collectBackup reads the files of a fleet's directory while nobody changes them.
func collectBackup(dir string) (files []backupFile, err error) {
	err = withRosterLock(dir, func() error {
		for _, below := range []string{"", "ca", "members"} {
			entries, err := os.ReadDir(filepath.Join(dir, below))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, e := range entries {
				name := path.Join(below, e.Name())
				if !e.Type().IsRegular() || backupName(name) != nil {
					continue
				}
				data, err := readSmall(filepath.Join(dir, filepath.FromSlash(name)))
				if err != nil {
					return err
				}
				if files = append(files, backupFile{name, data}); len(files) > maxBackupFiles {
					return fmt.Errorf("%s has more than %d files", dir, maxBackupFiles)
				}
			}
		}
		return nil
	})
	return files, err
}

// backupName refuses names that no file of a backup has: what is not in a fleet's
// directory or where the CA and members are, and what belongs to one process or machine.
func backupName(name string) error {
	dir, base := path.Split(name)
	switch {
	case dir != "" && dir != "ca/" && dir != "members/",
		base == "" || strings.HasPrefix(base, ".") || strings.ContainsAny(base, "\\:\x00") || len(base) > 255,
		strings.HasSuffix(base, ".lock"), strings.HasSuffix(base, ".tmp"), name == backupHead:
		return fmt.Errorf("%.260q is no file of a fleet's directory", name)
	}
	return nil
}

// Restore brings a fleet's directory back from a backup, into a state directory that has
// no such fleet. Everything is read and checked before anything is written, and what is
// written becomes the fleet's directory in one step: if there is an error, there is
// nothing.
func Restore(r io.Reader, stateDir, passphrase string) (BackupInfo, error) {
	info, files, err := readBackup(r, passphrase)
	if err != nil {
		return BackupInfo{}, err
	}
	target := FleetDir(stateDir, info.Fleet)
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return BackupInfo{}, errors.Join(&mistake.Error{
			File: target, What: "the fleet " + info.Fleet + " is here already, and is not overwritten",
			Hint: "--state names another state directory; or move that directory away",
		}, err)
	}
	if err := makeDir(filepath.Dir(target)); err != nil {
		return BackupInfo{}, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(target), ".restore-*")
	if err != nil {
		return BackupInfo{}, fmt.Errorf("restore the fleet %s: %w", info.Fleet, err)
	}
	err = restoreInto(temp, info.Fleet, files)
	if err == nil {
		err = rename(FleetDir(temp, info.Fleet), target)
	}
	if err := errors.Join(err, os.RemoveAll(temp)); err != nil {
		return BackupInfo{}, fmt.Errorf("restore the fleet %s: %w", info.Fleet, err)
	}
	return info, nil
}

// restoreInto makes a state directory of the files, and sees whether a fleet is in it.
func restoreInto(stateDir, fleet string, files []backupFile) error {
	dir := FleetDir(stateDir, fleet)
	for _, below := range []string{"ca", "members"} {
		if err := makeDir(filepath.Join(dir, below)); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(f.name)), f.data, 0o600); err != nil {
			return err
		}
	}
	if _, _, err := FindFleet(stateDir, fleet); err != nil {
		return fmt.Errorf("what was backed up is not whole: %w", err)
	}
	return nil
}

// readBackup reads and checks a whole backup.
func readBackup(r io.Reader, passphrase string) (BackupInfo, []backupFile, error) {
	damaged := func(err error) error {
		return &mistake.Error{What: "this is no whole backup: " + err.Error(), Hint: "it was cut off or damaged, or is another file; take another copy of it"}
	}
	if passphrase == "" || len(passphrase) > maxPassphrase {
		return BackupInfo{}, nil, wrongPassphrase()
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return BackupInfo{}, nil, err
	}
	identity.SetMaxWorkFactor(openWork)
	plain, err := age.Decrypt(r, identity)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return BackupInfo{}, nil, wrongPassphrase()
	}
	if err != nil {
		return BackupInfo{}, nil, damaged(err)
	}
	// Whole before any of it is looked at: only its end proves that nothing is missing.
	data, err := io.ReadAll(io.LimitReader(plain, maxBackup+1))
	if err == nil && len(data) > maxBackup {
		err = fmt.Errorf("it has more than %d bytes", maxBackup)
	}
	if err != nil {
		return BackupInfo{}, nil, damaged(err)
	}
	info, files, err := parseBackup(data)
	if err != nil {
		return BackupInfo{}, nil, damaged(err)
	}
	return info, files, nil
}

func wrongPassphrase() error {
	return &mistake.Error{What: "the passphrase of this backup is another", Hint: "type it once more; without it nobody can open the backup. A damaged file can look like this too"}
}

// parseBackup reads the archive of a backup. Who could write it knew the passphrase, but
// may have been another program.
func parseBackup(data []byte) (info BackupInfo, files []backupFile, err error) {
	archive := tar.NewReader(bytes.NewReader(data))
	known := make(map[string]bool)
	for n := 0; ; n++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if err != nil {
			return info, nil, fmt.Errorf("read its archive: %w", err)
		}
		if header.Typeflag != tar.TypeReg || header.Size > maxFile {
			return info, nil, fmt.Errorf("%.260q in it is no small file", header.Name)
		}
		content, err := io.ReadAll(io.LimitReader(archive, maxFile))
		if err != nil {
			return info, nil, fmt.Errorf("read its archive: %w", err)
		}
		if n == 0 {
			if header.Name != backupHead {
				return info, nil, fmt.Errorf("it does not begin with %s", backupHead)
			}
			if err := json.Unmarshal(content, &info); err != nil {
				return info, nil, fmt.Errorf("read %s in it: %w", backupHead, err)
			}
			if info.Version != backupVersion {
				return info, nil, fmt.Errorf("it is of version %d, and this penny reads %d", info.Version, backupVersion)
			}
			if err := checkName("fleet", info.Fleet); err != nil {
				return info, nil, err
			}
			continue
		}
		if err := backupName(header.Name); err != nil || known[header.Name] || n > maxBackupFiles {
			return info, nil, cmp.Or(err, fmt.Errorf("%.260q is in it twice, or more than %d files are", header.Name, maxBackupFiles))
		}
		known[header.Name] = true
		files = append(files, backupFile{header.Name, content})
	}
	if len(files) != info.Files {
		return info, nil, fmt.Errorf("it has %d files, and says %d", len(files), info.Files)
	}
	return info, slices.Clip(files), nil
}
