package keys_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// openAndPrint, in the environment, makes the test binary open the CA in the
// directory that it names as soon as its standard input ends, print the serial number, and exit.
const openAndPrint = "PENNY_TEST_OPEN_CA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(openAndPrint); dir != "" {
		os.Exit(openForParent(dir))
	}
	os.Exit(m.Run())
}

func openForParent(dir string) int {
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // ends when the parent closes it
	ca, err := keys.OpenCA(dir, "penny test", example, time.Now)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(ca.Certificate().SerialNumber, ca.Fresh())
	return 0
}

// example permits what most tests ask for.
var example = keys.Constraints{
	Names: []string{"localhost", "linkedlist.org"},
	Prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("2001:db8:a::/48"),
	},
}

func openCA(t *testing.T, dir string, c keys.Constraints, now func() time.Time) *keys.CA {
	t.Helper()
	ca, err := keys.OpenCA(dir, "penny test", c, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// at is a clock that stands still.
func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestANewCAIsAsNarrowAsRFC5280Allows(t *testing.T) {
	now := time.Date(2026, 10, 14, 12, 0, 0, 0, time.UTC)
	dir := filepath.Join(t.TempDir(), "state", "ca")
	ca := openCA(t, dir, keys.Constraints{
		Names:    []string{"LinkedList.org.", "localhost", "linkedlist.org"},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::ffff:10.1.2.3/104")},
	}, at(now))
	cert := ca.Certificate()
	got := map[string]any{
		"fresh": ca.Fresh(), "file": ca.File(), "CA": cert.IsCA, "no CA below it": cert.MaxPathLen == 0 && cert.MaxPathLenZero,
		"critical": cert.PermittedDNSDomainsCritical, "names": cert.PermittedDNSDomains,
		"ranges": fmt.Sprint(cert.PermittedIPRanges), "no ranges": fmt.Sprint(cert.ExcludedIPRanges),
		"usage": cert.KeyUsage, "purpose": cert.ExtKeyUsage, "algorithm": cert.SignatureAlgorithm.String(),
		"bits of serial number": cert.SerialNumber.BitLen(), "key identifier": len(cert.SubjectKeyId) > 0,
		"from": cert.NotBefore, "until": cert.NotAfter, "name": cert.Subject.CommonName,
	}
	want := map[string]any{
		"fresh": true, "file": filepath.Join(dir, "ca.pem"), "CA": true, "no CA below it": true,
		"critical": true, "names": []string{"linkedlist.org", "localhost"},
		"ranges": "[10.0.0.0/8 127.0.0.0/8]", "no ranges": "[::/0]",
		"usage": x509.KeyUsageCertSign | x509.KeyUsageCRLSign, "purpose": []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		"algorithm": "ECDSA-SHA256", "bits of serial number": 128, "key identifier": true,
		"from": now.Add(-time.Hour), "until": now.AddDate(10, 0, 0), "name": "penny test",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheFilesOfACAAreForItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot run: modes of files say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "ca")
	openCA(t, dir, example, time.Now)
	for name, want := range map[string]fs.FileMode{".": 0o700, "ca.key": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestACAIsFoundAgainOrReplaced(t *testing.T) {
	begin := time.Now()
	prefixes := func(p ...string) (out []netip.Prefix) {
		for _, s := range p {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		c     keys.Constraints
		later time.Duration
		fresh bool
	}{
		{"the same", example, 0, false},
		{"less", keys.Constraints{Names: []string{"localhost"}}, 0, false},
		{"a subdomain", keys.Constraints{Names: []string{"www.linkedlist.org"}}, 0, false},
		{"a part of a range", keys.Constraints{Prefixes: prefixes("127.1.0.0/16", "2001:db8:a:1::/64")}, 0, false},
		{"another name", keys.Constraints{Names: []string{"localhost", "example.org"}}, 0, true},
		{"the parent of a name", keys.Constraints{Names: []string{"org"}}, 0, true},
		{"a name that only ends alike", keys.Constraints{Names: []string{"notlinkedlist.org"}}, 0, true},
		{"another address", keys.Constraints{Prefixes: prefixes("10.0.0.1/32")}, 0, true},
		{"a larger range", keys.Constraints{Prefixes: prefixes("2001:db8::/32")}, 0, true},
		{"a larger range with the same beginning", keys.Constraints{Prefixes: prefixes("2001:db8:a::/47")}, 0, true},
		{"everything of the other family", keys.Constraints{Prefixes: prefixes("0.0.0.0/0")}, 0, true},
		{"after nine years", example, 9 * 365 * 24 * time.Hour, false},
		{"31 days before its end", example, begin.AddDate(10, 0, -31).Sub(begin), false},
		{"29 days before its end", example, begin.AddDate(10, 0, -29).Sub(begin), true},
		{"after its end", example, begin.AddDate(11, 0, 0).Sub(begin), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			first := openCA(t, dir, example, at(begin))
			firstPEM := readFile(t, first.File())
			second := openCA(t, dir, tc.c, at(begin.Add(tc.later)))
			if second.Fresh() != tc.fresh || second.Certificate().Equal(first.Certificate()) == tc.fresh {
				t.Fatalf("fresh is %v, want %v", second.Fresh(), tc.fresh)
			}
			old, err := os.ReadFile(first.File() + ".old")
			if tc.fresh && !bytes.Equal(old, firstPEM) {
				t.Errorf("ca.pem.old is not the old certificate: %v", err)
			}
			if !tc.fresh && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ca.pem.old is there though nothing was replaced: %v", err)
			}
			third := openCA(t, dir, tc.c, at(begin.Add(tc.later)))
			if third.Fresh() || !third.Certificate().Equal(second.Certificate()) {
				t.Error("the CA was not found again")
			}
		})
	}
}

func TestAReplacedCAHasAnotherSubjectAndKey(t *testing.T) {
	dir := t.TempDir()
	first := openCA(t, dir, keys.Constraints{Names: []string{"a.test"}}, time.Now).Certificate()
	second := openCA(t, dir, keys.Constraints{Names: []string{"b.test"}}, time.Now).Certificate()
	if bytes.Equal(first.RawSubject, second.RawSubject) || bytes.Equal(first.SubjectKeyId, second.SubjectKeyId) {
		t.Error("clients cannot tell the two apart")
	}
}

func TestConstraintsThatCannotBeMeantAreAllNamed(t *testing.T) {
	_, err := keys.OpenCA(t.TempDir(), "penny test", keys.Constraints{
		Names: []string{
			"fine.test", "", "*.test", "a..test", "-a.test", "b-.test", "192.0.2.1", "2001:db8::1", "bücher.test", "a b.test",
			strings.Repeat("a", 64) + ".test", strings.Repeat("abcd.", 51) + "test",
		},
		Prefixes: []netip.Prefix{{}, netip.MustParsePrefix("::ffff:0:0/90")},
	}, time.Now)
	if got := len(mistake.Of(err)); got != 13 {
		t.Errorf("%d mistakes were found, want 13: %v", got, err)
	}
	for _, want := range []string{`"192.0.2.1" is an address`, "xn-- form", `character '*'`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestOpenCARefusesWhatMakesNoCA(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	for name, open := range map[string]func() (*keys.CA, error){
		"nothing to speak for": func() (*keys.CA, error) {
			return keys.OpenCA(t.TempDir(), "penny", keys.Constraints{}, time.Now)
		},
		"no name": func() (*keys.CA, error) { return keys.OpenCA(t.TempDir(), "", example, time.Now) },
		"a long name": func() (*keys.CA, error) {
			return keys.OpenCA(t.TempDir(), strings.Repeat("x", 65), example, time.Now)
		},
		"a file for a directory": func() (*keys.CA, error) { return keys.OpenCA(file, "penny", example, time.Now) },
	} {
		t.Run(name, func(t *testing.T) {
			if ca, err := open(); err == nil || ca != nil {
				t.Errorf("got %v, error %v", ca, err)
			}
		})
	}
}

func TestADamagedCAIsReportedAndNotReplaced(t *testing.T) {
	other := t.TempDir()
	openCA(t, other, example, time.Now)
	plainPEM, plainKey := selfSigned(t, []string{"localhost"}, time.Now(), time.Hour)
	half := func(data []byte) []byte { return data[:len(data)/2] }
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string)
		file   string
		what   string
	}{
		"the certificate is empty": {func(t *testing.T, dir string) { writeFile(t, dir+"/ca.pem", nil) }, "ca.pem", "not PEM"},
		"the key is empty":         {func(t *testing.T, dir string) { writeFile(t, dir+"/ca.key", nil) }, "ca.key", "not PEM"},
		"the certificate is cut": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.pem", half(readFile(t, dir+"/ca.pem")))
		}, "ca.pem", "damaged"},
		"the key is cut": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.key", half(readFile(t, dir+"/ca.key")))
		}, "ca.key", "damaged"},
		"the certificate has other bytes": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "ca.pem", "cannot be read"},
		"the key has other bytes": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.key", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
		}, "ca.key", "cannot be read"},
		"the certificate is gone": {func(t *testing.T, dir string) { remove(t, dir+"/ca.pem") }, "ca.pem", "is missing"},
		"the key is gone":         {func(t *testing.T, dir string) { remove(t, dir+"/ca.key") }, "ca.key", "is missing"},
		"the key is another's": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.key", readFile(t, other+"/ca.key"))
		}, "ca.key", "is not the key of"},
		"the certificate is no CA's": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.pem", plainPEM)
			writeFile(t, dir+"/ca.key", plainKey)
		}, "ca.pem", "not the certificate of a CA"},
		"there are two certificates": {func(t *testing.T, dir string) {
			writeFile(t, dir+"/ca.pem", append(readFile(t, dir+"/ca.pem"), plainPEM...))
		}, "ca.pem", "2 certificates"},
		"a file is huge": {func(t *testing.T, dir string) { writeFile(t, dir+"/ca.pem", make([]byte, 2<<20)) }, "ca.pem", "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			openCA(t, dir, example, time.Now)
			tc.damage(t, dir)
			before := contents(t, dir)
			_, err := keys.OpenCA(dir, "penny test", example, time.Now)
			found := mistake.Of(err)
			if len(found) != 1 || filepath.Base(found[0].File) != tc.file || !strings.Contains(found[0].What, tc.what) {
				t.Fatalf("got error %v, want one about %s that says %q", err, tc.file, tc.what)
			}
			if tc.what != "more than" && !strings.Contains(found[0].Hint, "remove") {
				t.Errorf("the hint is %q", found[0].Hint)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("files were changed: %s", diff)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// contents returns what is in a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		all[e.Name()] = string(readFile(t, filepath.Join(dir, e.Name())))
	}
	return all
}

func TestAKeyThatOthersCanUseIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot run: modes of files say nothing on Windows")
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o601} {
		dir := t.TempDir()
		openCA(t, dir, example, time.Now)
		key := filepath.Join(dir, "ca.key")
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keys.OpenCA(dir, "penny test", example, time.Now)
		found := mistake.Of(err)
		if len(found) != 1 || found[0].File != key || found[0].Hint != "chmod 600 "+key {
			t.Errorf("mode %o: got error %v", mode, err)
		}
	}
}

func TestAClockBeforeTheCAIsAnErrorAndNoReasonForANewOne(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	openCA(t, dir, example, at(now))
	_, err := keys.OpenCA(dir, "penny test", example, at(time.Unix(0, 0)))
	if found := mistake.Of(err); len(found) != 1 || found[0].Hint != "set the clock of this machine" {
		t.Errorf("got error %v", err)
	}
	if openCA(t, dir, example, at(now)).Fresh() {
		t.Error("the CA was replaced")
	}
}

// A process may die between any two steps of a replacement. Whatever it leaves, the
// next one finds a CA that works, and the new one from the moment its key is in place.
func TestAProcessThatDiesWhileItReplacesTheCALeavesAWholeOne(t *testing.T) {
	wanted := keys.Constraints{Names: []string{"new.test"}}
	old, replaced := t.TempDir(), t.TempDir()
	oldCA := openCA(t, old, example, time.Now)
	newCA := openCA(t, replaced, wanted, time.Now)
	type files map[string][]byte
	oldPEM, oldKey := readFile(t, old+"/ca.pem"), readFile(t, old+"/ca.key")
	newPEM, newKey := readFile(t, replaced+"/ca.pem"), readFile(t, replaced+"/ca.key")
	for _, tc := range []struct {
		name  string
		left  files
		c     keys.Constraints
		found *keys.CA // nil for a new one
	}{
		{"half of a certificate, first CA", files{"ca.pem.new.tmp": newPEM[:99]}, wanted, nil},
		{"a certificate without its key, first CA", files{"ca.pem.new": newPEM}, wanted, nil},
		{"half of a key, first CA", files{"ca.pem.new": newPEM, "ca.key.tmp": newKey[:99]}, wanted, nil},
		{"all but the last step, first CA", files{"ca.pem.new": newPEM, "ca.key": newKey}, wanted, newCA},
		{"the old certificate is kept", files{"ca.pem": oldPEM, "ca.pem.old": oldPEM, "ca.key": oldKey}, example, oldCA},
		{"a certificate without its key", files{"ca.pem": oldPEM, "ca.pem.new": newPEM, "ca.key": oldKey}, example, oldCA},
		{"all but the last step", files{"ca.pem": oldPEM, "ca.pem.new": newPEM, "ca.key": newKey}, wanted, newCA},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range tc.left {
				writeFile(t, filepath.Join(dir, name), data)
			}
			ca := openCA(t, dir, tc.c, time.Now)
			if ca.Fresh() != (tc.found == nil) || tc.found != nil && !ca.Certificate().Equal(tc.found.Certificate()) {
				t.Errorf("fresh is %v, or it is another CA", ca.Fresh())
			}
			if again := openCA(t, dir, tc.c, time.Now); again.Fresh() {
				t.Error("it was not found again")
			}
			var names []string
			for name := range contents(t, dir) {
				if name != "ca.pem.old" {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			if diff := cmp.Diff([]string{"ca.key", "ca.lock", "ca.pem"}, names); diff != "" {
				t.Errorf("left over: %s", diff)
			}
		})
	}
}

func TestManyCallersAtOnceGetOneCA(t *testing.T) {
	dir := t.TempDir()
	var replaced []string
	for _, c := range []keys.Constraints{example, {Names: []string{"replaced.test"}}} {
		var mu sync.Mutex
		serials, fresh := map[string]int{}, 0
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				ca, err := keys.OpenCA(dir, "penny test", c, time.Now)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				serials[ca.Certificate().SerialNumber.String()]++
				if ca.Fresh() {
					fresh++
				}
			})
		}
		wg.Wait()
		if len(serials) != 1 || fresh != 1 {
			t.Errorf("%d callers made a CA, and there are %d: %v", fresh, len(serials), serials)
		}
		for serial := range serials {
			replaced = append(replaced, serial)
		}
	}
	if len(replaced) == 2 && replaced[0] == replaced[1] {
		t.Error("the CA was not replaced")
	}
}

func TestSeveralProcessesAtOnceGetOneCA(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const processes = 4
	var start []func() error
	var lines []*bufio.Scanner
	for range processes {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), openAndPrint+"="+dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() })
		scanner := bufio.NewScanner(stdout)
		if !scanner.Scan() || scanner.Text() != "ready" {
			t.Fatalf("a process began with %q", scanner.Text())
		}
		start, lines = append(start, stdin.Close), append(lines, scanner)
	}
	for _, begin := range start {
		if err := begin(); err != nil {
			t.Fatal(err)
		}
	}
	serials, fresh := map[string]int{}, 0
	for _, scanner := range lines {
		scanner.Scan()
		serial, isFresh, _ := strings.Cut(scanner.Text(), " ")
		serials[serial]++
		if isFresh == "true" {
			fresh++
		}
	}
	want := map[string]int{openCA(t, dir, example, time.Now).Certificate().SerialNumber.String(): processes}
	if diff := cmp.Diff(want, serials); diff != "" || fresh != 1 {
		t.Errorf("%d processes made a CA: %s", fresh, diff)
	}
}

func TestTheSubjectTellsWhichCAItIs(t *testing.T) {
	cert := openCA(t, t.TempDir(), example, time.Now).Certificate()
	if got, want := cert.Subject.SerialNumber, hex.EncodeToString(cert.SerialNumber.Bytes()[:4]); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
