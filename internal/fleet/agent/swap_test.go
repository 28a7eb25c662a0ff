package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Visitors come, somebody deploys and rolls back, somebody collects and somebody
// looks at the status, all at once: no answer is mixed, none fails.
func TestVisitorsNoticeNothingOfDeploysButTheirContent(t *testing.T) {
	f := newFleet(t)
	p, now := f.enrol("au"), newClock()
	p.now = now.Now
	p.start()
	p.bringRoster()
	c := p.owner()
	script := func(i uint64) string { return fmt.Sprintf("app.%08xa.js", 0xabcdef00+i) }
	content := func(i uint64) tree {
		return tree{"index.html": fmt.Sprintf(`<script src="/%s"></script>`, script(i)), script(i): fmt.Sprintf("script %d", i)}
	}
	c.deploy(1, content(1))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				resp, page := p.visit("/")
				name, _, ok := strings.Cut(strings.TrimPrefix(page, `<script src="/`), `"`)
				if resp.StatusCode != http.StatusOK || !ok {
					t.Errorf("the page is %s %q", resp.Status, page)
					return
				}
				if resp, body := p.visit("/" + name); resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "script ") {
					t.Errorf("%s, which the page names, is %s %q", name, resp.Status, body)
					return
				}
			}
		})
	}
	others.Go(func() {
		watcher := p.owner()
		for ctx.Err() == nil {
			for _, call := range [][2]string{{"GET", "/v1/status"}, {"POST", "/v1/collect"}, {"GET", sitePath("releases")}} {
				if resp, data, err := watcher.try(call[0], call[1], nil); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%s %s: %v %s, %v", call[0], call[1], resp.Status, data, err)
					return
				}
			}
		}
	})
	generation := uint64(1)
	for i := range uint64(12) {
		generation++
		id := c.deploy(generation, content(2+i))
		if i%3 == 2 { // back and forth again
			generation += 2
			back := content(1 + i).manifest().ID().String()
			c.want(nil, "PUT", sitePath("head"), c.head(generation-1, back))
			c.want(nil, "PUT", sitePath("head"), c.head(generation, id))
		}
	}
	stop()
	others.Wait()
	p.serves("/", content(13)["index.html"])
}
