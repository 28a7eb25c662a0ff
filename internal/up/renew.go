package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// renewing renews the certificates of the agents and of the sites for as long as the
// fleet runs. What goes wrong is told, and tried again at the next look.
func (f *fleet) renewing(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.control(ctx, f.renew); err != nil && ctx.Err() == nil {
			f.Log.LogAttrs(ctx, slog.LevelWarn, "certificates not renewed", slog.Any("err", err))
		}
	}
}

// renew renews what is due, as [fleet.prepare] does at the start.
func (f *fleet) renew(ctx context.Context, c *control.Fleet) error {
	seen, err := c.Observe(ctx)
	if err != nil {
		return err
	}
	answering := slices.DeleteFunc(slices.Clone(seen), func(o control.Observation) bool { return o.Err != nil })
	authority, err := keys.FindAuthority(f.State, f.Fleet.Name, f.now)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range answering {
		if !keys.RenewPOP(o.Status.LeafExpires, f.now()) || !authority.Certificate().NotAfter.After(o.Status.LeafExpires) {
			continue
		}
		expires, err := c.RenewLeaf(ctx, o.POP.Name, authority)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.Log.LogAttrs(ctx, slog.LevelInfo, "certificate renewed", slog.String("pop", o.POP.Name), slog.Time("expires", expires))
	}
	if f.ca, err = f.openCA(f.named); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if f.ca.Fresh() {
		f.Log.LogAttrs(ctx, slog.LevelWarn, "the CA for browsers is a new one", slog.String("hint", fmt.Sprintf("browsers have to trust %s anew", f.ca.File())))
		if err := f.where.Write(f.State, f.Fleet.Name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, f.sendCertificates(ctx, c, answering))...)
}
