package agent

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/release"
)

// When status warns.
const (
	warnLeaf        = 7 * 24 * time.Hour  // of the agent's own certificate, which is renewed with ten days left
	warnCertificate = 14 * 24 * time.Hour // of a site's, which is renewed with more
)

// getStatus says how the POP is. It is for every member, and for every page of a
// dashboard, so it reads nothing but what is at hand. Who deploys a site is told no more
// than that takes: over a long way every packet counts.
func (a *Agent) getStatus(c *call) error {
	s, query := a.status(), c.r.URL.Query()
	if !c.heard.IsZero() { // who asks is heard by that, which is no news to them
		s.ControlSeen = c.heard.UTC().Round(0)
	}
	if query.Has(api.QuerySite) {
		s.Sites = slices.DeleteFunc(s.Sites, func(site api.SiteStatus) bool { return site.Site != query.Get(api.QuerySite) })
	}
	if query.Has(api.QueryReleases) {
		most, err := strconv.Atoi(query.Get(api.QueryReleases))
		if err != nil || most < 0 {
			return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("%.40q is no number of releases", query.Get(api.QueryReleases))}
		}
		for i := range s.Sites {
			site := &s.Sites[i]
			site.Staged, site.Incoming = site.Staged[:min(most, len(site.Staged))], site.Incoming[:min(most, len(site.Incoming))]
		}
	}
	return c.answer(s)
}

func (a *Agent) status() *api.Status {
	now := a.o.Now()
	roster, config := a.roster.Load(), a.config.Load()
	s := &api.Status{
		POP: a.enrolment.POP, Fleet: a.enrolment.Fleet, Key: a.key.Public().String(), Version: a.o.Version, API: a.o.Versions, Batch: true,
		Time: now.UTC().Round(0), Uptime: int64(now.Sub(a.began).Seconds()), Roster: roster.Number, Config: config.Number,
		Load: loadAverage(), CPUs: runtime.NumCPU(),
		Memory: api.MemoryStatus{Resident: residentMemory(), Limit: a.o.MemoryLimit, Bodies: a.o.Bodies.Mapped()},
		Sites:  []api.SiteStatus{}, Certificates: []api.CertificateStatus{},
	}
	if a.o.AccessLog != nil {
		s.LogsDropped = a.o.AccessLog.Dropped()
	}
	var err error
	if s.Disk, err = a.disk.status(); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	for _, hosted := range a.allSites() {
		_, configured := config.site(hosted.name)
		if configured || config.Number == 0 {
			s.Sites = append(s.Sites, hosted.status(configured, a.leases.of(hosted.name), now))
		}
	}
	certificates := *a.certs.Load()
	for _, name := range slices.Sorted(maps.Keys(certificates)) {
		s.Certificates = append(s.Certificates, certificates[name].status())
	}
	s.LeafExpires = a.LeafExpires()
	s.Warnings = append(s.Warnings, a.warnings(s, now)...)
	return s
}

// warnings says what a person should look at.
func (a *Agent) warnings(s *api.Status, now time.Time) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	roster := a.roster.Load()
	pinned, ok := roster.POP(a.enrolment.POP)
	switch {
	case roster.Number == 0:
		add("this POP has no roster yet")
	case !ok:
		add("roster %d does not have the POP %s", roster.Number, a.enrolment.POP)
	case pinned != a.key.Public():
		add("roster %d has another key for the POP %s", roster.Number, a.enrolment.POP)
	}
	expiry := func(what string, at time.Time, early time.Duration) {
		switch left := at.Sub(now); {
		case left <= 0:
			add("%s has expired at %s", what, at.UTC().Format(time.RFC3339))
		case left < early:
			add("%s expires at %s", what, at.UTC().Format(time.RFC3339))
		}
	}
	if s.LeafExpires.IsZero() {
		add("the agent has no certificate yet; penny control brings it")
	} else {
		expiry("the agent's certificate", s.LeafExpires, warnLeaf)
	}
	for _, c := range s.Certificates {
		expiry("the certificate "+c.Name, c.Expires, warnCertificate)
	}
	for _, site := range s.Sites {
		if site.Error != "" {
			add("%s: %s", site.Site, site.Error)
		}
	}
	if room := min(s.Disk.Budget-s.Disk.Used, s.Disk.Free); s.Disk.Size > 0 && room < s.Disk.Budget/10 {
		add("there is room for %d bytes of releases only", max(room, 0))
	}
	return all
}

// status describes a site.
func (s *hostedSite) status(configured bool, lease *api.Lease, now time.Time) api.SiteStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := api.SiteStatus{Site: s.name, Configured: configured, Lease: lease, Previews: s.previewDigest(now), Error: s.failure}
	if s.head != nil {
		status.Head, status.HeadKey = new(s.head.Head), s.head.key.String()
	}
	if s.serving {
		status.Active, status.Since = s.active.String(), s.since.UTC().Round(0)
		sum := s.live.Site().Summary()
		status.Files, status.Bytes, status.InMemory = sum.Files, sum.Bytes, sum.Memory
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.records), s.newestFirst) {
		if s.records[id].Staged.IsZero() {
			status.Incoming = append(status.Incoming, id.String())
		} else {
			status.Staged = append(status.Staged, id.String())
		}
	}
	return status
}

// newestFirst compares two releases of a site, whose mu is held.
func (s *hostedSite) newestFirst(x, y release.Hash) int {
	if by := s.records[y].last().Compare(s.records[x].last()); by != 0 {
		return by
	}
	return strings.Compare(x.String(), y.String())
}
