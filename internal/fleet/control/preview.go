package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
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
	brought   bool // others have it: it is brought to POPs that were away
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
func (f *Fleet) openPreview(ctx context.Context, shown *preview, plan *Plan, p *prepared, box *parcel, report *Report, o RunOptions, began time.Time) (*Report, error) {
	check := f.newVerifierAt(shown.Host, p.new.manifest, p.live, p.lay, false, p.new.content())
	check.preview = shown
	report.Left = check.left
	report, err := f.carryOut(ctx, plan, p.pops, box, check, report, o, began)
	for _, pop := range report.POPs {
		if pop.Live {
			shown.POPs = append(shown.POPs, pop.POP)
		}
	}
	report.Preview = &shown.PreviewInfo
	if err == nil || !shown.fresh && !shown.brought {
		return report, err
	}
	return report, f.withdraw(ctx, shown, plan, report, err)
}

// withdraw ends a preview that does not show what it should, at the POPs that were to
// get it, and says why.
func (f *Fleet) withdraw(ctx context.Context, shown *preview, plan *Plan, report *Report, why error) error {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var end *keys.Statement
	if shown.fresh { // nobody was told where it is, and no POP brings it to another
		var err error
		if end, err = f.signPreviewEnd(shown.Preview); err != nil {
			return errors.Join(why, err)
		}
	}
	var left []string
	for _, pop := range plan.targets() {
		if f.agent(pop).endPreview(ending, plan.Site, shown.Host, end) != nil {
			left = append(left, pop)
		}
	}
	for i := range report.POPs {
		if slices.Contains(plan.targets(), report.POPs[i].POP) && report.POPs[i].Live {
			report.POPs[i].Live, report.POPs[i].Why = false, "its preview was ended again"
		}
	}
	report.Preview = nil
	text := "the preview was ended again"
	if len(left) > 0 {
		text += ", but for " + strings.Join(left, ", ") + ", where it expires"
	}
	return &WithdrawnError{Site: plan.Site, Release: plan.Release, Text: text, Err: why}
}

// signPreviewEnd says that a preview has ended.
func (f *Fleet) signPreviewEnd(p api.Preview) (*keys.Statement, error) {
	return f.sign(api.KindPreviewEnd, api.PreviewEnd{Site: p.Site, Host: p.Host, Expires: p.Expires})
}

// previews lists the previews of a site that POPs have and that have not expired, that
// which expires last first. It knows of none where who asks may not deploy the site.
func (f *Fleet) previews(ctx context.Context, name string, pops []POPState) ([]PreviewInfo, error) {
	known := f.askPreviews(ctx, name, pops)
	all := make([]PreviewInfo, 0, len(known.open))
	for host, p := range known.open {
		if known.ended[host] == nil {
			all = append(all, p.PreviewInfo)
		}
	}
	slices.SortFunc(all, func(a, b PreviewInfo) int {
		return cmp.Or(b.Expires.Compare(a.Expires), strings.Compare(a.Host, b.Host))
	})
	return all, ctx.Err()
}

// EndPreview ends a preview at every POP before it expires. Where a POP cannot be told,
// the error says so; [Fleet.BringPreviews] tells it later.
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
	known := f.askPreviews(ctx, name, states(seen, name)).open[host]
	if err := ctx.Err(); err != nil {
		return err
	}
	var end *keys.Statement
	if known != nil {
		if end, err = f.signPreviewEnd(known.Preview); err != nil {
			return err
		}
	}
	if err := f.atEvery(func(_ int, a *agentClient) error { return a.endPreview(ctx, name, host, end) }); err != nil {
		return fmt.Errorf("end the preview at %s: %w", host, err)
	}
	if known == nil {
		return &mistake.Error{What: fmt.Sprintf("%s has no preview at %s", name, host), Hint: "penny releases " + name + " lists them"}
	}
	return nil
}
