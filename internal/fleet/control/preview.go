package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/serve/site"
)

// DefaultPreview is how long a preview lasts unless somebody says otherwise.
const DefaultPreview = 14 * 24 * time.Hour

// A PreviewInfo is a release that is to be seen at a host of its own.
type PreviewInfo struct {
	api.Preview
	URL  string   `json:"url"` // of its front page, at the first POP of the fleet
	By   string   `json:"by"`  // the name of who has opened it, or the key
	POPs []string `json:"pops"`
}

// A preview is one that is being opened.
type preview struct {
	PreviewInfo
	statement *keys.Statement
	fresh     bool // nobody has seen it yet
}

// newPreview decides where a release is to be seen: where it already is, or at a host
// that nobody can guess. The name is in no certificate and in no record of its own.
func (f *Fleet) newPreview(ctx context.Context, o DeployOptions, pops []POPState, id string) (*preview, error) {
	if o.Preview < time.Minute || o.Preview > api.MaxPreviewAge {
		return nil, &mistake.Error{What: fmt.Sprintf("a preview cannot last %v", o.Preview), Hint: fmt.Sprintf("between a minute and %d days are possible", int(api.MaxPreviewAge.Hours()/24))}
	}
	there, err := f.previews(ctx, o.Site, pops)
	if err != nil {
		return nil, err
	}
	p := &preview{fresh: true}
	p.Preview = api.Preview{Site: o.Site, Release: id, Expires: f.Now().Add(o.Preview).UTC().Truncate(time.Second)}
	if i := slices.IndexFunc(there, func(have PreviewInfo) bool { return have.Release == id }); i >= 0 {
		p.Host, p.fresh = there[i].Host, false
	} else {
		secret := make([]byte, 16)
		_, _ = rand.Read(secret) // never fails
		label := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret))
		p.Host = api.PreviewHost(label, f.visible(o.Site))
	}
	if _, _, ok := api.PreviewLabel(p.Host); !ok {
		return nil, &mistake.Error{What: fmt.Sprintf("the name %s is too long for a preview below it", o.Site), Hint: "a host name has at most 253 characters"}
	}
	p.URL, p.By, p.POPs = f.previewURL(p.Host), f.nameOf(f.ID.Key().Public().String()), []string{}
	p.statement, err = f.sign(api.KindPreview, p.Preview)
	return p, err
}

// visible is the host by which visitors find a site. Those of penny up find it on this
// machine.
func (f *Fleet) visible(name string) string {
	const local = "localhost"
	if f.POPs.up && name != local && !strings.HasSuffix(name, "."+local) {
		return name + "." + local
	}
	return name
}

// previewURL is where the front page of a preview is.
func (f *Fleet) previewURL(host string) string {
	if len(f.agents) > 0 {
		if _, port, err := net.SplitHostPort(f.agents[0].pop.Edge); err == nil && port != "443" {
			host = net.JoinHostPort(host, port)
		}
	}
	return "https://" + host + "/"
}

// openPreview does what a plan of a preview says. One that does not show what it should
// is ended again, unless it was there before.
func (f *Fleet) openPreview(ctx context.Context, shown *preview, plan *Plan, p prepared, box *parcel, lay *site.Layout, report *Report, o RunOptions, began time.Time) (*Report, error) {
	check := f.newVerifierAt(shown.Host, p.new.manifest, p.live, lay, false, p.new.tree)
	check.preview = shown
	report.Left = check.left
	report, err := f.carryOut(ctx, plan, p.pops, box, check, report, o, began)
	for _, pop := range report.POPs {
		if pop.Live {
			shown.POPs = append(shown.POPs, pop.POP)
		}
	}
	report.Preview = &shown.PreviewInfo
	if err == nil || !shown.fresh {
		return report, err
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	for _, l := range plan.targets() {
		// What is left of it expires, and nobody was told where it is.
		_ = f.agent(l).endPreview(ending, plan.Site, shown.Host)
	}
	return report, err
}

// previews lists the previews of a site that POPs have and that have not expired, that
// which expires last first. It knows of none where who asks may not deploy the site.
func (f *Fleet) previews(ctx context.Context, name string, pops []POPState) ([]PreviewInfo, error) {
	found := make(map[string]*PreviewInfo)
	lists := make([]*api.Previews, len(f.agents))
	up := make(map[string]bool, len(pops))
	for _, s := range pops {
		up[s.POP] = s.Unreachable == ""
	}
	_ = f.atEvery(func(i int, a *agentClient) (err error) {
		if up[a.pop.Name] {
			lists[i], err = a.previews(ctx, name)
		}
		return err
	}) // who does not tell has none to tell of
	for i, list := range lists {
		if list == nil {
			continue
		}
		for _, there := range list.Previews {
			var p PreviewInfo
			st, err := keys.ParseStatement(there.Statement)
			if err != nil || f.readStatement(st, api.KindPreview, name, &p.Preview) != nil || p.Site != name || !f.Now().Before(p.Expires) {
				continue // nobody who may say so has said so
			}
			p.URL, p.By = f.previewURL(p.Host), f.nameOf(st.Key.String())
			has := found[p.Host]
			if has == nil {
				has = &p
				found[p.Host] = has
			}
			has.POPs = append(has.POPs, f.agents[i].pop.Name)
			if p.Expires.After(has.Expires) {
				has.Preview, has.By = p.Preview, p.By
			}
		}
	}
	all := make([]PreviewInfo, 0, len(found))
	for _, p := range found {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b PreviewInfo) int {
		return cmp.Or(b.Expires.Compare(a.Expires), strings.Compare(a.Host, b.Host))
	})
	return all, ctx.Err()
}

// EndPreview ends a preview at every POP before it expires. Where a POP cannot be told,
// the error says so.
func (f *Fleet) EndPreview(ctx context.Context, name, host string) error {
	if err := checkSite(name); err != nil {
		return err
	}
	if _, _, ok := api.PreviewLabel(host); !ok {
		return &mistake.Error{What: fmt.Sprintf("%.260q is no host of a preview", host), Hint: "penny releases " + name + " lists them"}
	}
	seen, err := f.Observe(ctx) // which brings the roster where it is needed
	if err != nil {
		return err
	}
	pops := states(seen, name)
	there, err := f.previews(ctx, name, pops)
	if err != nil {
		return err
	}
	if err := f.atEvery(func(_ int, a *agentClient) error { return a.endPreview(ctx, name, host) }); err != nil {
		return fmt.Errorf("end the preview at %s: %w", host, err)
	}
	if !slices.ContainsFunc(there, func(p PreviewInfo) bool { return p.Host == host }) {
		return &mistake.Error{What: fmt.Sprintf("%s has no preview at %s", name, host), Hint: "penny releases " + name + " lists them"}
	}
	return nil
}
