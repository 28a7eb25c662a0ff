package agent

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"

	"pennyfarthing/internal/fleet/api"
)

const (
	maxHolder   = 200 // bytes
	maxLeaseTTL = 3600
)

// putLease gives somebody the lease of a site.
func (a *Agent) putLease(c *call) error {
	var ask api.LeaseRequest
	if err := c.json(&ask, api.MaxJSON); err != nil {
		return err
	}
	if err := checkHolder(ask.Holder); err != nil {
		return err
	}
	if ask.TTL < 1 || ask.TTL > maxLeaseTTL {
		return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("a lease of %d seconds is not possible", ask.TTL), Hint: fmt.Sprintf("ask for 1 to %d seconds, and renew it", maxLeaseTTL)}
	}
	if !a.served(c.site()) {
		_, err := a.site(c.site())
		return err
	}
	lease, ok := a.leases.take(c.site(), ask.Holder, c.key, time.Duration(ask.TTL)*time.Second)
	if !ok {
		return leased(c.site(), lease)
	}
	return c.answer(lease)
}

// deleteLease ends a lease. It is no error if it has ended.
func (a *Agent) deleteLease(c *call) error {
	var ask api.LeaseRelease
	if err := c.json(&ask, api.MaxJSON); err != nil {
		return err
	}
	if err := checkHolder(ask.Holder); err != nil {
		return err
	}
	if lease, ok := a.leases.giveBack(c.site(), ask.Holder, c.key); !ok {
		return leased(c.site(), lease)
	}
	select { // what could not be collected meanwhile can be now
	case a.wake <- struct{}{}:
	default:
	}
	a.log.LogAttrs(c.r.Context(), slog.LevelDebug, "lease given back", slog.String("site", c.site()), slog.String("holder", ask.Holder))
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func checkHolder(holder string) error {
	if holder == "" || len(holder) > maxHolder || strings.ContainsFunc(holder, unicode.IsControl) {
		return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: "the lease has no holder, or one that cannot be shown", Hint: fmt.Sprintf("say who deploys, in at most %d bytes", maxHolder)}
	}
	return nil
}

func leased(site string, l api.Lease) error {
	return &api.Error{
		Status: http.StatusConflict, Code: api.CodeLeased, Lease: &l,
		Message: fmt.Sprintf("%s is being deployed by %s, for %v more at most", site, l.Holder, l.Left.Round(time.Second)),
		Hint:    "wait for it: penny deploy --wait",
	}
}
