package fleet_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
)

func cryptoRand() io.Reader { return rand.Reader }

// peakBytes returns VmHWM of a process: what it has had resident at most.
func peakBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the process has no VmHWM")
	return 0
}

// A storedFile is a file below an agent's directory.
type storedFile struct {
	name string
	size int64
}

func storedFiles(t *testing.T, dir string) []storedFile {
	t.Helper()
	var all []storedFile
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, storedFile{path, info.Size()})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// key is the key of a POP, as its thief has it.
func (n *node) key() *keys.Key {
	n.c.t.Helper()
	key, made, err := keys.OpenKey(filepath.Join(n.dir, "agent.key"), rand.Reader)
	if err != nil || made {
		n.c.t.Fatalf("the key of %s: made: %v, %v", n.name, made, err)
	}
	return key
}

// as is somebody with a key who knows what everybody may know of the fleet.
func (c *cluster) as(name string, key *keys.Key) *keys.Identity {
	c.t.Helper()
	own := c.owner.Identity()
	id, err := keys.NewIdentity(fleetOfFaults, name, key, own.Owner, own.CA)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *cluster) newKey() *keys.Key {
	c.t.Helper()
	key, err := keys.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

// shut wants an agent to let somebody see nothing and do nothing.
func (n *node) shut(who *keys.Identity, what string) {
	n.c.t.Helper()
	own := n.c.owner.Identity()
	head := n.c.sign(who, api.KindHead, api.Head{Site: site, Generation: 1 << 20, Release: n.status().Active, Time: time.Unix(1, 0).UTC()})
	_, roster := n.c.owner.Roster()
	payload, err := roster.Verify(fleetOfFaults, "roster")
	if err != nil {
		n.c.t.Fatal(err)
	}
	forged, err := who.Key().Sign("roster", fleetOfFaults, []byte(strings.Replace(string(payload), `"number":`, `"number":9`, 1)))
	if err != nil {
		n.c.t.Fatal(err)
	}
	for _, r := range []struct {
		method, path string
		body         []byte
	}{
		{"GET", "status", nil},
		{"GET", "roster", nil},
		{"GET", "logs", nil},
		{"PUT", "roster", n.c.marshal(forged)},
		{"PUT", "config", n.c.sign(who, api.KindConfig, api.Config{Number: 9, Time: time.Now().UTC()})},
		{"PUT", "certificates/" + site, n.c.pair},
		{"PUT", "sites/" + site + "/lease", []byte(`{"holder":"thief","ttl":3600}`)},
		{"PUT", "sites/" + site + "/head", head},
		{"POST", "sites/" + site + "/objects", []byte(`{"objects":[]}`)},
		{"POST", "collect", nil},
	} {
		status, answer, err := n.try(who, r.method, "/v1/"+r.path, r.body)
		refused := status == http.StatusUnauthorized || status == http.StatusForbidden || r.path == "roster" && r.method == "PUT" && status == http.StatusUnprocessableEntity
		if err == nil && !refused {
			n.c.t.Errorf("%s: %s %s at %s: %d %s", what, r.method, r.path, n.name, status, answer)
		}
	}
	// And nothing that such a one has signed is taken from anybody else.
	if status, answer := n.ask(own, http.MethodPut, "/v1/sites/"+site+"/head", head); status != http.StatusForbidden {
		n.c.t.Errorf("%s: a head that was signed so: %d %s", what, status, answer)
	}
	if status, answer := n.ask(own, http.MethodPut, "/v1/roster", n.c.marshal(forged)); status < 400 || status >= 500 {
		n.c.t.Errorf("%s: a roster that was signed so: %d %s", what, status, answer)
	}
}

// Who has stolen a POP has a key that opens nothing: neither the other POPs nor the
// one that it is from, and there is no other key on the machine but those of the sites'
// certificates.
func TestAStolenPOPKeyOpensNoPOP(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	thief := c.as("thief", c.nodes[0].key())
	for _, n := range c.nodes {
		n.shut(thief, "with the key of au")
	}
	for _, f := range storedFiles(t, c.nodes[0].dir) {
		text, err := os.ReadFile(f.name)
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.Contains(string(text), "PRIVATE KEY") || strings.Contains(string(text), "penny-key-1.")
		if own := filepath.Base(f.name) == "agent.key" || strings.Contains(f.name, string(filepath.Separator)+"certificates"+string(filepath.Separator)); secret != own {
			t.Errorf("%s: a secret: %v", f.name, secret)
		}
	}
	c.serves(0)
	// Out of the roster it is nobody even as a POP.
	if err := c.owner.RemovePOP("au"); err != nil {
		t.Fatal(err)
	}
	c.writeVersion(1)
	c.wants("deploy", "live on 1 of 2")
	c.serves(1, c.nodes[1])
	c.serves(0, c.nodes[0])
	if err := c.owner.AddPOP("au", thief.Key().Public()); err == nil {
		t.Error("the key of a POP that was taken out comes back")
	}
}

// impostor has whoever works with the fleet reach somebody else where a POP should be,
// who shows a key and a certificate.
func (n *node) impostor(config *tls.Config, h http.Handler) {
	n.c.t.Helper()
	addr := serveTLS(n.c.t, config, h)
	for i := range n.c.where.POPs {
		if n.c.where.POPs[i].Name == n.name {
			n.c.where.POPs[i].API = addr
		}
	}
	if err := n.c.where.Write(n.c.state, fleetOfFaults); err != nil {
		n.c.t.Fatal(err)
	}
}

// A stolen POP's key is no other POP's, whatever certificate is around it: nobody
// speaks to it, and nothing is sent.
func TestAStolenPOPKeyPosesAsNoOtherPOP(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	au, fr := c.nodes[0], c.nodes[1]
	key := au.key()
	ca, err := keys.OpenAuthority(c.state, fleetOfFaults, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	roster := func() *keys.Roster { r, _ := c.owner.Roster(); return r }
	leafFor := func(ca *keys.CA, pop string) *tls.Config {
		t.Helper()
		chain, err := ca.IssuePOP(fleetOfFaults, pop, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		pair, err := keys.ParseLeaf(chain, key, fleetOfFaults, pop)
		if err != nil {
			t.Fatal(err)
		}
		return keys.ServerTLS(tlsOf(pair), roster)
	}
	elsewhere := t.TempDir()
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: elsewhere, Fleet: fleetOfFaults, Random: rand.Reader, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	theirs, err := keys.OpenAuthority(elsewhere, fleetOfFaults, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"its own certificate":                    leafFor(ca, "au"),
		"a certificate of the fleet's CA for fr": leafFor(ca, "fr"), // as who has stolen the CA's key too makes
		"a certificate of another CA for fr":     leafFor(theirs, "fr"),
	} {
		asked := make(chan string, 100) // more than anybody asks
		fr.impostor(config, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
		out, _, _ := run(t, c.command("status", "--json"))
		var status struct {
			POPs []struct{ POP, Error string }
		}
		if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.POPs) != 2 || status.POPs[0].Error != "" || status.POPs[1].Error == "" {
			t.Errorf("%s: penny status says %s", name, out)
		}
		if len(asked) > 0 {
			t.Errorf("%s: it is asked for %s", name, <-asked)
		}
	}
	c.writeVersion(1)
	c.wants("deploy", "live on 1 of 2")
	c.serves(1, au)
	c.serves(0, fr)
}

// A stolen POP may say of itself what it likes. Whoever works with the fleet does not
// believe that anything was deployed which nobody has signed, fetches nothing that is
// not what its name says, and notices what visitors get.
func TestAStolenPOPThatLiesMisleadsNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr", "ny")
	c.writeVersion(0)
	c.wants("deploy", "live on 3 of 3")
	au := c.nodes[0]
	evil := []byte("evil")
	changeStatus := func(change func(*api.SiteStatus)) func(string, []byte) []byte {
		return func(path string, answer []byte) []byte {
			var s api.Status
			if !strings.HasSuffix(path, "/status") || json.Unmarshal(answer, &s) != nil {
				return answer
			}
			change(&s.Sites[0])
			return c.marshal(s)
		}
	}
	version := 0
	for name, generation := range map[string]uint64{"the last generation of all": math.MaxUint64, "the one before": math.MaxUint64 - 1, "some later one": 1000} {
		au.gate.lie(changeStatus(func(s *api.SiteStatus) { s.Head.Generation, s.Head.Release = generation, release.HashOf(evil).String() }))
		version++
		c.writeVersion(version)
		// From the machine that remembers, and from one that knows nothing.
		c.wants("deploy", "live on 2 of 3")
		c.serves(version, c.nodes[1:]...)
		version++
		c.writeVersion(version)
		ci := c.elsewhere(c.member(fmt.Sprintf("ci%d", version), "deploy:"+site))
		au.gate.lie(nil)
		run(t, c.command("status")) // brings the roster, and complains about au
		au.gate.lie(changeStatus(func(s *api.SiteStatus) {
			if s.Head != nil {
				s.Head.Generation = generation
			}
		}))
		if stdout, stderr, code := run(t, ci("deploy", site)); code != 0 || !strings.Contains(stdout, "live on 2 of 3") {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		c.serves(version, c.nodes[1:]...)
	}
	au.gate.lie(nil)
	c.wants("deploy", "live on 3 of 3")
	c.serves(version)

	// Objects and manifests that are not what their names say.
	au.gate.lie(func(path string, answer []byte) []byte {
		if strings.HasSuffix(path, "/objects") || strings.Contains(path, "/releases/") {
			return append([]byte{answer[0], answer[1] ^ 1}, answer[2:]...)
		}
		return answer
	})
	ci := c.elsewhere(c.member("puller", "deploy:"+site))
	c.wants("status")
	pulled := filepath.Join(c.dir, "pulled")
	if _, stderr, code := run(t, ci("pull", site, "--dir", pulled)); code != 0 {
		t.Errorf("pull: exit code %d\n%s", code, stderr)
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(pulled, fileOf(page)))
		if got, wrong := versionOf(string(text)); err != nil || wrong != nil || got != fmt.Sprint(version) {
			t.Errorf("%s was pulled as version %s: %v, %v", page, got, err, wrong)
		}
	}
}

// elsewhere is another machine, which has the fleet file, the site, where the POPs are,
// and a key.
func (c *cluster) elsewhere(id *keys.Identity) func(args ...string) *exec.Cmd {
	c.t.Helper()
	state := c.t.TempDir()
	if err := c.where.Write(state, fleetOfFaults); err != nil {
		c.t.Fatal(err)
	}
	return func(args ...string) *exec.Cmd {
		cmd := c.command(args...)
		cmd.Env = append(os.Environ(), "PENNY_STATE="+state, keys.EnvKey+"="+id.Secret())
		return cmd
	}
}

// What a member may not do an agent does not do, whatever the command line lets through,
// and who is in no roster may do nothing.
func TestAStolenMemberKeyDoesWhatTheMemberMayAndNoMore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au")
	c.writeVersion(0)
	c.wants("deploy", "live on 1 of 1")
	n := c.nodes[0]
	own := c.owner.Identity()
	ci, renewer, laptop := c.member("ci", "deploy:"+site), c.member("renewer", "renew"), c.member("laptop", "deploy")
	c.wants("status")
	n.shut(c.as("stranger", c.newKey()), "with a key of nobody")
	config := func(id *keys.Identity) []byte { return c.sign(id, api.KindConfig, api.Config{Number: 9}) }
	head := func(id *keys.Identity, of string) []byte {
		return c.sign(id, api.KindHead, api.Head{Site: of, Generation: 9, Release: n.status().Active, Time: time.Unix(1, 0).UTC()})
	}
	other := "other.example.org"
	for _, forbidden := range []struct {
		id           *keys.Identity
		method, path string
		body         []byte
	}{
		{ci, "PUT", "sites/" + other + "/lease", []byte(`{"holder":"x","ttl":60}`)},
		{ci, "PUT", "sites/" + other + "/head", head(ci, other)},
		{ci, "POST", "sites/" + other + "/objects", []byte(`{"objects":[]}`)},
		{ci, "PUT", "config", config(ci)},
		{ci, "PUT", "certificates/" + site, c.pair},
		{ci, "GET", "logs", nil},
		{ci, "GET", "leaf", nil},
		{ci, "POST", "collect", nil},
		{laptop, "PUT", "config", config(laptop)},
		{laptop, "PUT", "certificates/" + site, c.pair},
		{laptop, "GET", "logs", nil},
		{renewer, "PUT", "sites/" + site + "/head", head(renewer, site)},
		{renewer, "PUT", "sites/" + site + "/lease", []byte(`{"holder":"x","ttl":60}`)},
		{renewer, "POST", "sites/" + site + "/objects", []byte(`{"objects":[]}`)},
		{renewer, "PUT", "config", config(renewer)},
		{renewer, "GET", "logs", nil},
		{own, "PUT", "config", config(ci)}, // signed by who may not
		{own, "PUT", "sites/" + site + "/head", head(renewer, site)},
	} {
		n.refused(forbidden.id, http.StatusForbidden, api.CodeForbidden, forbidden.method, "/v1/"+forbidden.path, forbidden.body)
	}
	// Nobody makes a member, or an owner.
	for _, id := range []*keys.Identity{ci, laptop, renewer} {
		_, roster := c.owner.Roster()
		payload, err := roster.Verify(fleetOfFaults, "roster")
		if err != nil {
			t.Fatal(err)
		}
		forged := c.sign(id, "roster", json.RawMessage(strings.Replace(string(payload), `"number":`, `"number":9`, 1)))
		if status, answer := n.ask(id, http.MethodPut, "/v1/roster", forged); status < 400 || status >= 500 {
			t.Errorf("%v makes a roster: %d %s", id, status, answer)
		}
	}
	// What each may do, it does.
	if status, _ := n.ask(renewer, http.MethodPut, "/v1/certificates/"+site, c.pair); status != http.StatusOK {
		t.Errorf("who renews may not: %d", status)
	}
	if status, _ := n.ask(laptop, http.MethodPost, "/v1/sites/"+site+"/objects", []byte(`{"objects":[]}`)); status != http.StatusOK {
		t.Errorf("who deploys may not: %d", status)
	}
	c.serves(0)
}

// A thief who may deploy cannot spend the generations, so that nothing could ever be
// deployed again.
func TestAStolenDeployKeyCannotSpendTheGenerations(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	ci := c.member("ci", "deploy:"+site)
	c.wants("status")
	for _, n := range c.nodes {
		for _, generation := range []uint64{math.MaxUint64, math.MaxUint64 - 1, 1 << 63, 1 << 60} {
			head := c.sign(ci, api.KindHead, api.Head{Site: site, Generation: generation, Release: n.status().Active, Time: time.Unix(1, 0).UTC()})
			n.refused(ci, http.StatusUnprocessableEntity, api.CodeInvalid, http.MethodPut, "/v1/sites/"+site+"/head", head)
		}
	}
	// What it can spend, the owner gets past.
	au := c.nodes[0]
	for i := range uint64(3) {
		head := c.sign(ci, api.KindHead, api.Head{Site: site, Generation: 1 + (i+1)*api.MaxLeap, Release: au.status().Active, Time: time.Unix(1, 0).UTC()})
		if status, answer := au.ask(ci, http.MethodPut, "/v1/sites/"+site+"/head", head); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	c.writeVersion(1)
	c.wants("deploy", "live on 2 of 2")
	c.serves(1)
	c.writeVersion(2)
	if stdout, stderr, code := run(t, c.elsewhere(ci)("deploy", site)); code != 0 {
		t.Errorf("afterwards a member deploys no more: exit code %d\n%s%s", code, stdout, stderr)
	}
	c.serves(2)
}

// A revoked member is refused at the next word with the fleet. A POP that was off
// meanwhile learns of it from whoever comes first, and takes no roster that is older.
func TestARevokedMemberIsRefusedAtTheNextWord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	au, fr := c.nodes[0], c.nodes[1]
	ci := c.member("ci", "deploy:"+site)
	c.wants("status")
	_, old := c.owner.Roster()
	may := func(n *node) int {
		t.Helper()
		status, _, err := n.try(ci, http.MethodGet, "/v1/status", nil)
		if err != nil { // the handshake already
			return 0
		}
		return status
	}
	if may(au) != http.StatusOK || may(fr) != http.StatusOK {
		t.Fatal("a member may not")
	}
	fr.kill()
	if _, err := c.owner.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	run(t, c.command("status")) // which complains about fr
	if got := may(au); got == http.StatusOK {
		t.Errorf("who was revoked still may: %d", got)
	}
	fr.start()
	c.wants("status")
	for _, n := range c.nodes {
		if got := may(n); got == http.StatusOK {
			t.Errorf("who was revoked still may at %s: %d", n.name, got)
		}
		n.refused(c.owner.Identity(), http.StatusConflict, api.CodeStale, http.MethodPut, "/v1/roster", c.marshal(old))
		n.kill()
		n.start()
		if got := may(n); got == http.StatusOK {
			t.Errorf("after a restart who was revoked may again at %s: %d", n.name, got)
		}
	}
	if _, _, code := run(t, c.elsewhere(ci)("deploy", site)); code != 1 {
		t.Errorf("who was revoked deploys: exit code %d", code)
	}
	c.serves(0)
}

// What a member has deployed stays when the member is revoked, also when POPs are started
// again. But it goes to no other POP by itself, for it may be a thief's: somebody has to
// deploy it, or go back.
func TestWhatARevokedMemberHasDeployedStays(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	au, fr := c.nodes[0], c.nodes[1]
	ci := c.member("ci", "deploy:"+site)
	c.wants("status")
	fr.kill()
	c.writeVersion(1)
	if stdout, stderr, code := run(t, c.elsewhere(ci)("deploy", site)); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, err := c.owner.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	run(t, c.command("status")) // which complains about fr
	au.kill()
	au.start()
	c.serves(1, au)
	fr.start()
	if stdout, stderr, code := run(t, c.command("deploy", "--catch-up")); code != 1 || !strings.Contains(stderr, "hint: penny deploy "+site) {
		t.Errorf("what may be a thief's is spread: exit code %d\n%s%s", code, stdout, stderr)
	}
	c.serves(0, fr)
	c.wants("deploy", "live on 2 of 2")
	c.serves(1)
	c.wants("verify "+site, "0 differ")
	c.wants("rollback "+site, "live on 2 of 2")
	c.serves(0)
	c.wants("rollback "+site, "live on 2 of 2")
	c.serves(1)
}
