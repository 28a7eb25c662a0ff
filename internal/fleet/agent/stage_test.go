package agent_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// numbersOf asks in version 2 what is missing of a release.
func (c *client) numbersOf(m *release.Manifest) [][2]int {
	c.t.Helper()
	var runs api.ManifestRuns
	c.want(&runs, "PUT", api.Path(2, "sites", siteName, "releases", m.ID().String()), m.Encode(), api.HeaderStatement, c.releaseStatement(m))
	return runs.Missing
}

func TestInVersion2ObjectsAreNamedByTheirNumbers(t *testing.T) {
	f := newFleet(t)
	c := f.ready("au").owner()
	c.deploy(1, tree{"b.html": "two", "d.html": "four"})
	tr := tree{"a.html": "one", "b.html": "two", "c.html": "three", "d.html": "four", "e.html": "five", "f.html": "six", "g.html": "one"}
	m := tr.manifest()
	if diff := cmp.Diff([][2]int{{0, 1}, {2, 1}, {4, 2}}, c.numbersOf(m)); diff != "" {
		t.Fatalf("missing (-want +got):\n%s", diff)
	}
	var body bytes.Buffer
	numbering := release.NewNumbering(m.ID(), m.Objects())
	w := release.NewNumberedPack(&body, numbering)
	for _, content := range []string{"one", "three", "five", "six"} {
		h := release.Header{Hash: release.HashOf([]byte(content)), Size: int64(len(content)), Coding: release.Identity, Length: int64(len(content))}
		if err := w.Add(h, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed api.PackResult
	c.want(&packed, "POST", sitePath("pack"), body.Bytes())
	if packed.Stored != 4 || len(packed.Bad) > 0 {
		t.Errorf("packed %+v", packed)
	}
	if runs := c.numbersOf(m); len(runs) > 0 {
		t.Errorf("still missing: %v", runs)
	}
	numbering.Release = release.Hash{1}
	body.Reset()
	if err := release.NewNumberedPack(&body, numbering).Close(); err != nil {
		t.Fatal(err)
	}
	c.refused(http.StatusNotFound, api.CodeNoRelease, "POST", sitePath("pack"), body.Bytes())
}

func TestStagingGoesOnWhereItWasCut(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"a.html": "a", "b.html": "b", "c.html": "c", "d.html": "a"}
	m := content.manifest()
	id := m.ID().String()
	missing := c.putManifest(m).Missing
	if len(missing) != 3 {
		t.Fatalf("missing are %q; equal files are one object", missing)
	}
	told := c.told(http.StatusPreconditionFailed, api.CodeIncomplete, "POST", sitePath("releases", id, "stage"), nil)
	if diff := cmp.Diff(missing, told.Missing); diff != "" {
		t.Errorf("(-missing +told)\n%s", diff)
	}
	pack := content.pack(t, missing)
	cut := pack[:bytes.LastIndex(pack, []byte(`{"sha256"`))]
	c.refused(http.StatusBadRequest, api.CodeInvalid, "POST", sitePath("pack"), cut)
	p.restart()
	c = p.owner()
	if s := c.status().Sites[0]; len(s.Incoming) != 1 || s.Incoming[0] != id {
		t.Errorf("incoming are %q", s.Incoming)
	}
	again := c.putManifest(m).Missing
	if len(again) != 1 || again[0] != missing[2] {
		t.Fatalf("missing are %q, want what was cut off: %q", again, missing[2:])
	}
	c.want(nil, "POST", sitePath("pack"), content.pack(t, again))
	for range 2 { // the second time nothing is left to do
		var staged api.StageResult
		c.want(&staged, "POST", sitePath("releases", id, "stage"), nil)
		if staged.Files != 4 || staged.Bytes != 4 {
			t.Errorf("staged: %+v", staged)
		}
	}
	if r := c.putManifest(m); len(r.Missing) != 0 || !r.Staged {
		t.Errorf("a staged release: %+v", r)
	}
}

func TestAManifestThatIsNotWhatItSaysIsRefused(t *testing.T) {
	f := newFleet(t)
	ada, bob := f.member("ada", "deploy:"+siteName), f.member("bob", "deploy:other.org")
	p := f.ready("au")
	c := p.as(ada)
	m := tree{"index.html": "one"}.manifest()
	id, text, statement := m.ID().String(), m.Encode(), c.releaseStatement(m)
	other := tree{"index.html": "two"}.manifest()
	foreign := *m
	foreign.Site = "other.org"
	about := func(change func(*api.Release)) string {
		r := api.Release{Site: siteName, Release: id, Files: 1, Bytes: 3, Time: time.Unix(1, 0).UTC()}
		change(&r)
		return base64.StdEncoding.EncodeToString(c.sign(api.KindRelease, r))
	}
	evil := []byte(strings.Replace(string(text), "index.html", "../../etc/x", 1))
	evilID := release.HashOf(evil).String()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := encoder.EncodeAll(make([]byte, api.MaxManifest+1), nil)
	for name, test := range map[string]struct {
		status    int
		code      api.Code
		id        string
		body      []byte
		statement string
		coding    string
	}{
		"of another release":                  {422, api.CodeInvalid, id, other.Encode(), statement, ""},
		"without a statement":                 {400, api.CodeBadRequest, id, text, "", ""},
		"with a statement that is not base64": {400, api.CodeBadRequest, id, text, "{}", ""},
		"with a statement about another":      {422, api.CodeInvalid, id, text, c.releaseStatement(other), ""},
		"with a statement of somebody else":   {403, api.CodeForbidden, id, text, p.as(bob).releaseStatement(m), ""},
		"with a statement of other files":     {422, api.CodeInvalid, id, text, about(func(r *api.Release) { r.Files = 2 }), ""},
		"with a statement of other bytes":     {422, api.CodeInvalid, id, text, about(func(r *api.Release) { r.Bytes = 4 }), ""},
		"of another site":                     {422, api.CodeInvalid, foreign.ID().String(), foreign.Encode(), about(func(r *api.Release) { r.Release = foreign.ID().String() }), ""},
		"that leaves the directory":           {422, api.CodeInvalid, evilID, evil, about(func(r *api.Release) { r.Release = evilID }), ""},
		"with a short name":                   {400, api.CodeBadRequest, id[:8], text, statement, ""},
		"in a coding that nobody knows":       {415, api.CodeBadRequest, id, text, statement, "gzip"},
		"in damaged zstd":                     {422, api.CodeInvalid, id, text, statement, "zstd"},
		"that expands without end":            {413, api.CodeTooLarge, id, bomb, statement, "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{}
			if test.statement != "" {
				header = append(header, api.HeaderStatement, test.statement)
			}
			if test.coding != "" {
				header = append(header, "Content-Encoding", test.coding)
			}
			c.refused(test.status, test.code, "PUT", sitePath("releases", test.id), test.body, header...)
		})
	}
	if sites := c.status().Sites; len(sites) != 0 {
		t.Errorf("a site came of it: %+v", sites)
	}
}

func TestAManifestMayBeCodedAgainstAnother(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	big := tree{}
	for name := range strings.FieldsSeq("a b c d e f g h i j k l m n o p q r s t u v w x y z") {
		big[name+".html"] = name
	}
	base := big.manifest()
	big["a.html"] = "changed"
	next := big.manifest()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderDictRaw(0, base.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	coded := encoder.EncodeAll(next.Encode(), nil)
	if len(coded) > 400 {
		t.Errorf("one changed file of %d takes %d bytes", len(next.Files), len(coded))
	}
	header := []string{api.HeaderStatement, c.releaseStatement(next), "Content-Encoding", "zstd", api.HeaderBase, base.ID().String()}
	at := sitePath("releases", next.ID().String())
	c.refused(http.StatusPreconditionFailed, api.CodeNoBase, "PUT", at, coded, header...)
	c.putManifest(base)
	var result api.ManifestResult
	c.want(&result, "PUT", at, coded, header...)
	if len(result.Missing) != len(next.Files) {
		t.Errorf("missing are %d objects of %d", len(result.Missing), len(next.Files))
	}
}

func TestAManifestMayComeAsAPatch(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"a.html": "a", "b.html": "b", "gone.html": "gone"}
	base := content.manifest()
	c.deploy(1, content)
	delete(content, "gone.html")
	content["a.html"], content["c.html"] = "changed", "b"
	next := content.manifest()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	coded := func(patch []byte) []byte { return encoder.EncodeAll(patch, nil) }
	patch := release.Patch(base.ID(), base, next)
	at := sitePath("releases", next.ID().String())
	header := func(base string) []string {
		return []string{api.HeaderStatement, c.releaseStatement(next), "Content-Encoding", api.CodingPatch, api.HeaderBase, base}
	}
	other := tree{"x": "x"}.manifest()
	for name, test := range map[string]struct {
		status int
		code   api.Code
		body   []byte
		base   string
	}{
		"without a base":             {400, api.CodeBadRequest, coded(patch), ""},
		"against what is not there":  {412, api.CodeNoBase, coded(patch), other.ID().String()},
		"that is not zstd":           {422, api.CodeInvalid, patch, base.ID().String()},
		"that is none":               {422, api.CodeInvalid, coded(next.Encode()), base.ID().String()},
		"that says it is of another": {422, api.CodeInvalid, coded(release.Patch(other.ID(), base, next)), base.ID().String()},
		"that makes another release": {422, api.CodeInvalid, coded(release.Patch(base.ID(), base, other)), base.ID().String()},
	} {
		c.refused(test.status, test.code, "PUT", at, test.body, header(test.base)...)
		if t.Failed() {
			t.Fatalf("a patch %s", name)
		}
	}
	var result api.ManifestResult
	c.want(&result, "PUT", at, coded(patch), header(base.ID().String())...)
	if changed := release.HashOf([]byte("changed")).String(); len(result.Missing) != 1 || result.Missing[0] != changed || result.Bytes != int64(len("changed")) {
		t.Errorf("missing are %+v, want %s", result, changed)
	}
	c.want(nil, "POST", sitePath("pack"), content.pack(t, result.Missing))
	c.want(nil, "POST", sitePath("releases", next.ID().String(), "stage"), nil)
	c.want(nil, "PUT", sitePath("head"), c.head(2, next.ID().String()))
	p.serves("/a", "changed")
	p.serves("/c", "b")
	if resp, _ := p.visit("/gone"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("what was removed is answered %s", resp.Status)
	}
	p.restart()
	p.serves("/a", "changed")
}

func TestAPackBringsNothingThatNobodyWants(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.putManifest(tree{"index.html": "one"}.manifest())
	stray := tree{"x": "nobody has asked for this"}
	h := stray.manifest().Files[0].Hash.String()
	var result api.PackResult
	c.want(&result, "POST", sitePath("pack"), stray.pack(t, []string{h}))
	if result.Stored != 0 || len(result.Bad) != 1 || result.Bad[0].Object != h {
		t.Errorf("answered %+v", result)
	}
	c.refused(http.StatusBadRequest, api.CodeInvalid, "POST", sitePath("pack"), []byte("nonsense"))
	c.refused(http.StatusNotFound, api.CodeNoSite, "POST", api.Path(1, "sites", "other.org", "pack"), stray.pack(t, []string{h}))
}

func TestAnObjectThatIsNotWhatItsNameSaysIsNotStored(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"index.html": "one"}
	m := content.manifest()
	missing := c.putManifest(m).Missing
	forged := bytes.Replace(content.pack(t, missing), []byte("one"), []byte("two"), 1)
	var result api.PackResult
	c.want(&result, "POST", sitePath("pack"), forged)
	if result.Stored != 0 || len(result.Bad) != 1 || result.Bad[0].Object != missing[0] || result.Bad[0].Error == "" {
		t.Errorf("answered %+v", result)
	}
	c.refused(http.StatusPreconditionFailed, api.CodeIncomplete, "POST", sitePath("releases", m.ID().String(), "stage"), nil)
}

func TestADamagedObjectIsFoundAndAskedForAnew(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"index.html": "one", "b.html": "two"}
	id := c.deploy(1, content)
	object := release.HashOf([]byte("two")).String()
	if err := os.WriteFile(filepath.Join(p.dir, "store", "objects", object[:2], object), []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := sitePath("releases", id, "stage")
	c.want(nil, "POST", at, nil) // a look at the names finds nothing
	told := c.told(http.StatusPreconditionFailed, api.CodeIncomplete, "POST", at+"?verify=1", nil)
	if len(told.Missing) != 1 || told.Missing[0] != object {
		t.Fatalf("missing are %q, want %s", told.Missing, object)
	}
	c.want(nil, "POST", sitePath("pack"), content.pack(t, told.Missing))
	c.want(nil, "POST", at+"?verify=1", nil)
}

func TestObjectsComeBackAsAPack(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"index.html": strings.Repeat("<p>one</p>", 500), "b.html": "two"}
	m := content.manifest()
	c.deploy(1, content)
	other := f.ready("fr")
	var names []string
	for _, file := range m.Files {
		names = append(names, file.Hash.String())
	}
	resp, text := c.send("GET", sitePath("releases", m.ID().String()), nil)
	if resp.StatusCode != http.StatusOK || string(text) != string(m.Encode()) {
		t.Fatalf("the manifest is %s %q", resp.Status, text)
	}
	to := other.owner()
	to.want(nil, "PUT", sitePath("releases", m.ID().String()), text, api.HeaderStatement, resp.Header.Get(api.HeaderStatement))
	resp, pack := c.send("POST", sitePath("objects"), marshal(t, api.ObjectsRequest{Objects: append(names, strings.Repeat("0", 64))}))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("objects: %s %s", resp.Status, pack)
	}
	to.want(nil, "POST", sitePath("pack"), pack)
	to.want(nil, "POST", sitePath("releases", m.ID().String(), "stage"), nil)
	_, head := c.send("GET", sitePath("head"), nil)
	to.want(nil, "PUT", sitePath("head"), head)
	other.serves("/", content["index.html"])
}

func TestWhoMayDeployOneSiteReadsNoOther(t *testing.T) {
	f := newFleet(t)
	eve := f.member("eve", "deploy:other.org")
	p := f.ready("au")
	secret := tree{"index.html": "not published yet"}
	p.owner().stage(secret)
	c := p.as(eve)
	foreign := tree{"index.html": "mine"}.manifest()
	foreign.Site = "other.org"
	c.want(nil, "PUT", api.Path(1, "sites", "other.org", "releases", foreign.ID().String()), foreign.Encode(), api.HeaderStatement, c.releaseStatement(foreign))
	h := secret.manifest().Files[0].Hash.String()
	resp, pack := c.send("POST", api.Path(1, "sites", "other.org", "objects"), marshal(t, api.ObjectsRequest{Objects: []string{h}}))
	if resp.StatusCode != http.StatusOK || bytes.Contains(pack, []byte("not published")) || !bytes.Contains(pack, []byte(`{"end":0}`)) {
		t.Errorf("answered %s %q", resp.Status, pack)
	}
}

func TestCodingsThatComeBehindAreShown(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	page := strings.Repeat("<p>the same again and again</p>\n", 200)
	c.deploy(1, tree{"index.html": page})
	best, err := encode.Encode(nil, []byte(page), encode.Brotli, encode.Best)
	if err != nil {
		t.Fatal(err)
	}
	h := release.HashOf([]byte(page))
	var buf bytes.Buffer
	w := release.NewPackWriter(&buf)
	if err := w.Add(release.Header{Hash: h, Size: int64(len(page)), Coding: release.Brotli, Level: "best", Length: int64(len(best))}, bytes.NewReader(best)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var result api.PackResult
	c.want(&result, "POST", sitePath("pack"), buf.Bytes())
	if result.Stored != 1 || len(result.Bad) != 0 {
		t.Fatalf("answered %+v", result)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.http+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = siteName
	req.Header.Set("Accept-Encoding", "br")
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Encoding") != "br" || resp.ContentLength != int64(len(best)) {
		t.Errorf("the page comes in %q of %d bytes, want br of %d", resp.Header.Get("Content-Encoding"), resp.ContentLength, len(best))
	}
}

func TestADeployThatDoesNotFitIsRefusedBeforeAnythingIsSent(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au", func(o *agent.Options) { o.Disk = 10_000 })
	c := p.owner()
	content := tree{"index.html": "one", "big.bin": strings.Repeat("x", 20_000)}
	m := content.manifest()
	told := c.told(http.StatusInsufficientStorage, api.CodeDiskFull, "PUT", sitePath("releases", m.ID().String()), m.Encode(), api.HeaderStatement, c.releaseStatement(m))
	if told.Disk == nil || told.Disk.Need != 20_003 || told.Disk.Budget != 10_000 || told.Disk.Free > 10_000 || told.Hint == "" {
		t.Errorf("told %+v of %+v", told, told.Disk)
	}
	c.deploy(1, tree{"index.html": "one"})
	p.serves("/", "one")
	if s := c.status(); s.Disk.Budget != 10_000 || s.Disk.Used <= 0 || s.Disk.Used > 10_000 {
		t.Errorf("disk: %+v", s.Disk)
	}
}

// Two deploys may each fit and not both.
func TestADiskThatFillsMeanwhileEndsAPack(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au", func(o *agent.Options) { o.Disk = 30_000 })
	c := p.owner()
	first, second := tree{"a.bin": strings.Repeat("a", 20_000)}, tree{"b.bin": strings.Repeat("b", 20_000)}
	missing, later := c.putManifest(first.manifest()).Missing, c.putManifest(second.manifest()).Missing
	c.want(nil, "POST", sitePath("pack"), first.pack(t, missing))
	told := c.told(http.StatusInsufficientStorage, api.CodeDiskFull, "POST", sitePath("pack"), second.pack(t, later))
	if told.Disk == nil || told.Disk.Need != 20_000 {
		t.Errorf("told %+v", told)
	}
}

func TestReleasesAreListedNewestFirst(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy")
	p := f.enrol("au")
	p.now = newClock().Now
	p.start()
	p.bringRoster()
	c := p.as(ada)
	first := c.deploy(1, tree{"index.html": "one"})
	second := c.stage(tree{"index.html": "two", "b.html": "b"})
	incoming := tree{"index.html": "three"}.manifest()
	c.putManifest(incoming)
	var list api.Releases
	c.want(&list, "GET", sitePath("releases"), nil)
	type line struct {
		ID             string
		Files          int
		Staged, Active bool
	}
	var got []line
	for _, r := range list.Releases {
		got = append(got, line{r.Release.Release, r.Files, r.Staged, r.Active})
		if r.Key != ada.Key().Public().String() || len(r.Statement) == 0 || r.Here.IsZero() {
			t.Errorf("incomplete: %+v", r)
		}
	}
	want := []line{{incoming.ID().String(), 1, false, false}, {second, 2, true, false}, {first, 1, true, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c.refused(http.StatusNotFound, api.CodeNoRelease, "GET", sitePath("releases", strings.Repeat("0", 64)), nil)
	c.refused(http.StatusNotFound, api.CodeNoRelease, "POST", sitePath("releases", strings.Repeat("0", 64), "stage"), nil)
}

func TestALostManifestIsSentAgain(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"index.html": "one"}
	id := c.deploy(1, content)
	next := tree{"index.html": "two"}
	lost := c.stage(next)
	path := filepath.Join(p.dir, "store", "manifests", lost)
	if err := os.WriteFile(path, []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.refused(http.StatusNotFound, api.CodeNoRelease, "POST", sitePath("releases", lost, "stage"), nil)
	if again := c.deploy(2, next); again != lost {
		t.Errorf("the release is %s, was %s", again, lost)
	}
	p.serves("/", "two")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.dir, "store", "manifests", id)); err != nil { // of a release that is not served
		t.Fatal(err)
	}
	p.start()
	p.serves("/", "two")
	if s := p.owner().status().Sites[0]; len(s.Staged) != 1 {
		t.Errorf("staged are %q", s.Staged)
	}
}

// Of many files the store is listed rather than asked for each; what came in a
// coding must be found all the same, and what comes behind too.
func TestCodingsOfManyFilesAreFound(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	content := tree{"index.html": strings.Repeat("<p>the same again and again</p>\n", 200)}
	for i := range 600 {
		content[fmt.Sprintf("p/%d.html", i)] = fmt.Sprintf("<p>%d</p>", i)
	}
	m := content.manifest()
	missing := c.putManifest(m).Missing
	c.want(nil, "POST", sitePath("pack"), content.pack(t, missing))
	h := release.HashOf([]byte(content["index.html"]))
	give := func(level encode.Level) int64 {
		t.Helper()
		coded, err := encode.Encode(nil, []byte(content["index.html"]), encode.Brotli, level)
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		w := release.NewPackWriter(&buf)
		if err := w.Add(release.Header{Hash: h, Size: int64(len(content["index.html"])), Coding: release.Brotli, Level: level.String(), Length: int64(len(coded))}, bytes.NewReader(coded)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		c.want(nil, "POST", sitePath("pack"), buf.Bytes())
		return int64(len(coded))
	}
	length := func() int64 {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.http+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = siteName
		req.Header.Set("Accept-Encoding", "br")
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.Header.Get("Content-Encoding") != "br" {
			return -1
		}
		return resp.ContentLength
	}
	quick := give(encode.Quick)
	c.want(nil, "POST", sitePath("releases", m.ID().String(), "stage"), nil)
	c.want(nil, "PUT", sitePath("head"), c.head(1, m.ID().String()))
	best := give(encode.Best)
	if got := length(); got != best || best == quick {
		t.Errorf("the page has %d bytes in br, want %d; %d at first", got, best, quick)
	}
}
