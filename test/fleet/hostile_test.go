package fleet_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

// sign returns a statement that somebody signs.
func (c *cluster) sign(id *keys.Identity, kind string, payload any) []byte {
	c.t.Helper()
	st, err := id.Key().Sign(kind, fleetOfFaults, c.marshal(payload))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.marshal(st)
}

// member makes a member.
func (c *cluster) member(name string, may ...string) *keys.Identity {
	c.t.Helper()
	rights := make([]keys.Right, len(may))
	for i, text := range may {
		var err error
		if rights[i], err = keys.ParseRight(text); err != nil {
			c.t.Fatal(err)
		}
	}
	id, err := c.owner.AddMember(name, rights, cryptoRand())
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// refused wants a request to be answered with an error of a status and a code.
func (n *node) refused(id *keys.Identity, status int, code api.Code, method, path string, body []byte, header ...string) {
	n.c.t.Helper()
	got, answer := n.ask(id, method, path, body, header...)
	var said api.Error
	if err := json.Unmarshal(answer, &said); err != nil || got != status || said.Code != code {
		n.c.t.Errorf("%s %s at %s: %d %s, want %d and the code %s", method, path, n.name, got, answer, status, code)
	}
}

// manifestOf is the text of a manifest, right or wrong, of files that are empty.
func manifestOf(files ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `{"penny":"release","version":1,"site":%q,"dialect":"netlify","files":%d,"bytes":0}`+"\n", site, len(files))
	for _, file := range files {
		text.WriteString(file + "\n")
	}
	return text.String()
}

// entry is the line of a manifest for an empty file. The path is as it is in JSON.
func entry(path string) string {
	return fmt.Sprintf(`{"path":"%s","sha256":"%s","size":0,"modified":1732800000,"type":"text/html; charset=utf-8"}`, path, release.HashOf(nil))
}

// What an agent is sent is what the deployer's key says, and is a list of files below
// the site, or it is refused; whoever sends it has every right to deploy. Nothing of it
// is left, and the next deploy goes through.
func TestAManifestThatMeansHarmIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au")
	c.writeVersion(0)
	c.wants("deploy", "live on 1 of 1")
	n, ci, other := c.nodes[0], c.member("ci", "deploy:"+site), c.member("other", "deploy:other.example.org")
	c.wants("status") // brings the roster
	put := func(by, signer *keys.Identity, text string, change ...func([]byte) []byte) (string, []byte, string) {
		t.Helper()
		id := release.HashOf([]byte(text)).String()
		st := c.sign(signer, api.KindRelease, api.Release{Site: site, Release: id, Files: strings.Count(text, "\n") - 1, Time: time.Unix(1, 0).UTC()})
		for _, f := range change {
			st = f(st)
		}
		return "/v1/sites/" + site + "/releases/" + id, []byte(text), base64.StdEncoding.EncodeToString(st)
	}
	good := manifestOf(entry("index.html"))
	for name, text := range map[string]string{
		"a path that leaves the site":            manifestOf(entry("../../../../tmp/evil.html")),
		"a path that leaves it in the middle":    manifestOf(entry("a/../../evil.html")),
		"an absolute path":                       manifestOf(entry("/etc/evil.html")),
		"a path of another system":               manifestOf(entry(`C:\\evil.html`)),
		"a path with a NUL":                      manifestOf(entry(`evil\u0000.html`)),
		"a path with a line feed":                manifestOf(entry(`evil\n.html`)),
		"a path with a part that is empty":       manifestOf(entry("a//evil.html")),
		"a path that is this directory":          manifestOf(entry("./evil.html")),
		"a path that is not UTF-8":               manifestOf(entry("evil\xff.html")),
		"a path of five thousand bytes":          manifestOf(entry(strings.Repeat("evil/", 1000) + "x.html")),
		"the same path twice":                    manifestOf(entry("evil.html"), entry("evil.html")),
		"two paths that differ by case":          manifestOf(entry("Evil.html"), entry("evil.html")),
		"a file that is a directory too":         manifestOf(entry("evil"), entry("evil/a.html")),
		"paths that are not in order":            manifestOf(entry("evil.html"), entry("a.html")),
		"a symbolic link":                        manifestOf(strings.Replace(entry("evil"), `"type":`, `"link":"/etc/shadow","type":`, 1)),
		"a link for a type":                      manifestOf(strings.Replace(entry("evil"), `"size":0`, `"size":0,"mode":"lrwxrwxrwx"`, 1)),
		"a size that is negative":                manifestOf(strings.Replace(entry("evil.html"), `"size":0`, `"size":-1`, 1)),
		"a size of nine exabytes":                manifestOf(strings.Replace(entry("evil.html"), `"size":0`, `"size":9223372036854775807`, 1)),
		"a type that is another header":          manifestOf(strings.Replace(entry("evil.html"), `utf-8"`, `utf-8\r\nSet-Cookie: evil=1"`, 1)),
		"fewer files than it says":               strings.Replace(good, `"files":1`, `"files":2`, 1),
		"something after its end":                good + "evil\n",
		"a form that is not the canonical one":   strings.Replace(good, `":"index`, `": "index`, 1),
		"nothing in it":                          "",
		"a version that there is not":            strings.Replace(good, `"version":1`, `"version":2`, 1),
		"an object that is a path":               manifestOf(strings.Replace(entry("evil.html"), release.HashOf(nil).String(), "../../../../../../../../../../../../../../../../../../etc/passwd0", 1)),
		"another site than it is sent for":       strings.Replace(good, site, "other.example.org", 1),
		"an object with capital letters in name": manifestOf(strings.Replace(entry("evil.html"), release.HashOf(nil).String(), strings.ToUpper(release.HashOf(nil).String()), 1)),
	} {
		path, body, st := put(ci, ci, text)
		status, answer := n.ask(ci, http.MethodPut, path, body, api.HeaderStatement, st)
		var said api.Error
		if err := json.Unmarshal(answer, &said); err != nil || status < 400 || status >= 500 || said.Message == "" {
			t.Errorf("with %s: %d %s", name, status, answer)
		}
	}

	path, body, st := put(ci, other, good)
	n.refused(ci, 403, api.CodeForbidden, http.MethodPut, path, body, api.HeaderStatement, st)
	path, body, st = put(other, other, good)
	n.refused(other, 403, api.CodeForbidden, http.MethodPut, path, body, api.HeaderStatement, st)
	flip := func(st []byte) []byte { // one bit of the signature
		at := bytes.Index(st, []byte(`"signature":"`)) + len(`"signature":"`)
		st[at] = map[bool]byte{true: 'B', false: 'A'}[st[at] == 'A']
		return st
	}
	path, body, st = put(ci, ci, good, flip)
	n.refused(ci, 422, api.CodeInvalid, http.MethodPut, path, body, api.HeaderStatement, st)
	forge := func(st []byte) []byte { // signed by somebody else than it says
		return bytes.Replace(st, []byte(ci.Key().Public().String()), []byte(c.owner.Identity().Owner.String()), 1)
	}
	path, body, st = put(ci, ci, good, forge)
	n.refused(ci, 422, api.CodeInvalid, http.MethodPut, path, body, api.HeaderStatement, st)
	kind := func([]byte) []byte { // a head, signed by who may
		return c.sign(ci, api.KindHead, api.Head{Site: site, Generation: 2, Release: release.HashOf(body).String()})
	}
	path, body, st = put(ci, ci, good, kind)
	n.refused(ci, 422, api.CodeInvalid, http.MethodPut, path, body, api.HeaderStatement, st)

	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	path, _, st = put(ci, ci, good)
	n.refused(ci, 413, api.CodeTooLarge, http.MethodPut, path, encoder.EncodeAll(make([]byte, api.MaxManifest+1), nil), api.HeaderStatement, st, "Content-Encoding", "zstd")

	for _, tried := range []string{"/v1/sites/..%2F..%2Fevil/head", "/v1/sites/%2Fetc/head", "/v1/sites/" + site + "/releases/..%2F..%2Fhead.json", "/v1/certificates/..%2Fevil"} {
		if status, answer := n.ask(c.owner.Identity(), http.MethodPut, tried, []byte("{}")); status < 400 || status >= 500 {
			t.Errorf("PUT %s: %d %s", tried, status, answer)
		}
	}
	c.nothingEvil()
	c.serves(0)
	c.writeVersion(1)
	c.wants("deploy", "live on 1 of 1")
	c.serves(1)
}

// nothingEvil wants nothing anywhere that was tried to be written.
func (c *cluster) nothingEvil() {
	c.t.Helper()
	err := filepath.WalkDir(filepath.Dir(c.dir), func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(strings.ToLower(filepath.Base(path)), "evil") {
			c.t.Errorf("there is %s", path)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range c.nodes {
		if s := n.status(); len(s.Incoming) > 0 || s.Error != "" {
			c.t.Errorf("%s is left with %+v", n.name, s)
		}
	}
}

// What a pack holds is what it says, and no more than that, however small it is on the
// wire: the agent's memory and disk are not the sender's.
func TestAPackThatMeansHarmStoresNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au")
	n, ci := c.nodes[0], c.member("ci", "deploy:"+site)
	c.wants("status")
	content := []byte("what is wanted")
	wanted := release.HashOf(content)
	m := &release.Manifest{Site: site, Dialect: "netlify", Files: []release.File{{Path: "index.html", Hash: wanted, Size: int64(len(content)), Modified: 1_700_000_000, Type: "text/html; charset=utf-8"}}}
	id := m.ID().String()
	st := base64.StdEncoding.EncodeToString(c.sign(ci, api.KindRelease, api.Release{Site: site, Release: id, Files: 1, Bytes: m.Bytes(), Time: time.Unix(1, 0).UTC()}))
	if status, answer := n.ask(ci, http.MethodPut, "/v1/sites/"+site+"/releases/"+id, m.Encode(), api.HeaderStatement, st); status != http.StatusOK {
		t.Fatalf("the manifest: %d %s", status, answer)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zeros := release.HashOf(make([]byte, 1))
	object := func(h release.Hash, size int64, coding string, data []byte) string {
		return fmt.Sprintf(`{"sha256":"%s","size":%d,"coding":"%s","length":%d}`+"\n%s", h, size, coding, len(data), data)
	}
	for name, stream := range map[string]string{
		"another content":                   object(wanted, int64(len(content)), "identity", []byte("what is evil !")),
		"less than it says":                 object(wanted, int64(len(content)), "identity", content[:5]),
		"a size of exabytes":                object(wanted, 1<<62, "identity", content),
		"a length of exabytes":              fmt.Sprintf(`{"sha256":"%s","size":14,"coding":"identity","length":%d}`+"\n", wanted, int64(1)<<62),
		"a coding that nobody knows":        object(wanted, int64(len(content)), "evil", content),
		"a name that is a path":             strings.Replace(object(wanted, int64(len(content)), "identity", content), wanted.String(), "../../../../../../../../../../../../../../../../../../tmp/evil0000", 1),
		"a base that is not there":          strings.Replace(object(wanted, int64(len(content)), "zstd", encoder.EncodeAll(content, nil)), `,"length"`, fmt.Sprintf(`,"base":"%s","length"`, zeros), 1),
		"a header without an end":           strings.Repeat("{", 1<<20),
		"damaged zstd":                      object(wanted, int64(len(content)), "zstd", []byte("evil")),
		"instructions that copy out of it":  object(wanted, int64(len(content)), "blocks", encoder.EncodeAll([]byte(`{"copy":[-1,1000000]}`), nil)),
		"a million objects that it is none": strings.Repeat(object(zeros, 1, "identity", []byte("x")), 5000),
	} {
		status, answer, err := n.try(ci, http.MethodPost, "/v1/sites/"+site+"/pack", []byte(`{"penny":"pack","version":1}`+"\n"+stream+`{"end":1}`+"\n"))
		var got api.PackResult
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(answer, &got)
			if err != nil || got.Stored > 0 {
				t.Errorf("%s: %d %s", name, status, answer)
			}
		} else if err == nil && (status < 400 || status >= 500) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
		if status, answer := n.ask(ci, http.MethodPost, "/v1/sites/"+site+"/releases/"+id+"/stage", nil); status != http.StatusPreconditionFailed {
			t.Fatalf("after %s the release is staged: %d %s", name, status, answer)
		}
	}
	if most := peakBytes(t, n.process.PID); most > 192<<20 {
		t.Errorf("the agent has had %d bytes of memory", most)
	}
	for _, file := range storedFiles(t, n.dir) {
		if file.size > 1<<20 {
			t.Errorf("%d bytes are stored as %s", file.size, file.name)
		}
	}
	c.writeVersion(1)
	c.wants("deploy", "live on 1 of 1")
	c.serves(1)
}
