package keys

import (
	"archive/tar"
	"bytes"
	"testing"
)

// archiveOf makes an archive as a backup has it, and others.
func archiveOf(f testing.TB, files ...backupFile) []byte {
	f.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.name, Size: int64(len(file.data)), Mode: 0o600}); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(file.data); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

func FuzzParseBackup(f *testing.F) {
	head := backupFile{backupHead, []byte(`{"version":1,"fleet":"wheels","files":1}`)}
	for _, name := range []string{"owner.key", "ca/ca.pem", "../owner.key", "/etc/passwd", "ca/../x", "cache/x", "members/a.key", "ca/.x", "roster.lock"} {
		f.Add(archiveOf(f, head, backupFile{name, []byte("x")}))
	}
	f.Add(archiveOf(f))
	f.Add(archiveOf(f, head))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, files, err := parseBackup(data)
		if err != nil {
			return
		}
		known := make(map[string]bool)
		for _, file := range files {
			if backupName(file.name) != nil || known[file.name] {
				t.Errorf("it takes %q", file.name)
			}
			known[file.name] = true
		}
		if len(files) != info.Files || checkName("fleet", info.Fleet) != nil {
			t.Errorf("it takes %+v", info)
		}
	})
}

func TestNoFileOfABackupIsElsewhere(t *testing.T) {
	head := backupFile{backupHead, []byte(`{"version":1,"fleet":"wheels","files":1}`)}
	for name, well := range map[string]bool{
		"owner.key": true, "ca/ca.pem": true, "members/home.key": true, "pops.json": true, "../owner.key": false, "/owner.key": false, "ca/../../x": false,
		"cache/x": false, "ca/.x": false, "roster.lock": false, `ca/..\x`: false, "C:x": false,
	} {
		_, files, err := parseBackup(archiveOf(t, head, backupFile{name, nil}))
		if (err == nil && len(files) == 1) != well {
			t.Errorf("%q: %v, want well: %v", name, err, well)
		}
	}
}
