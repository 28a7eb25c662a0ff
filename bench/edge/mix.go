//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
)

// mixCodings are what clients accept in the mixture, with shares in percent: browsers, older programs, and those that take
// what comes. Shares are of requests.
var mixCodings = []struct {
	accept string
	share  int
}{{"gzip, deflate, br", 70}, {"gzip", 20}, {"", 10}}

// mixConditional is the share of requests, in percent, that have the current ETag in If-None-Match and get 304.
const mixConditional = 30

func describeMix() string {
	var parts []string
	for _, c := range mixCodings {
		what := "nothing"
		if c.accept != "" {
			what = c.accept
		}
		parts = append(parts, fmt.Sprintf("%d %% accept %s", c.share, what))
	}
	return fmt.Sprintf("%s; %d %% have If-None-Match and get 304", strings.Join(parts, ", "), mixConditional)
}

// mixed is one request of the mixture, before it is known which ETag a server has for it.
type mixed struct {
	path, accept string
	conditional  bool
}

// mixture makes the manual's draw, or as many requests for one page, into a mixture. It follows from the seed alone.
func mixture(draw []string, seed uint64) []mixed {
	rng := rand.New(rand.NewPCG(seed, seed))
	requests := make([]mixed, len(draw))
	for i, path := range draw {
		left, k := rng.IntN(100), 0
		for left >= mixCodings[k].share {
			left -= mixCodings[k].share
			k++
		}
		requests[i] = mixed{path, mixCodings[k].accept, rng.IntN(100) < mixConditional}
	}
	return requests
}

// variant is what a server has for a path and Accept-Encoding.
type variant struct {
	etag, coding, vary string
	size               int64
}

// variants asks a server for everything that the mixture asks for, and compares each body with the file.
func variants(ctx context.Context, s *server, st *site, requests []mixed) (map[mixed]variant, error) {
	client := newClient(s, 1)
	defer client.CloseIdleConnections()
	known := map[mixed]variant{}
	for _, r := range requests {
		r.conditional = false
		if _, ok := known[r]; ok {
			continue
		}
		v, err := fetchVariant(ctx, client, s, r, st.assets[r.path])
		if err != nil {
			return nil, fmt.Errorf("%s with Accept-Encoding %q: %w", r.path, r.accept, err)
		}
		known[r] = v
	}
	return known, nil
}

func fetchVariant(ctx context.Context, client *http.Client, s *server, r mixed, want asset) (variant, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(s.asked(r.path)), nil)
	if err != nil {
		return variant{}, err
	}
	if r.accept != "" {
		req.Header.Set("Accept-Encoding", r.accept)
	}
	resp, err := client.Do(req)
	if err != nil {
		return variant{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return variant{}, err
	}
	v := variant{
		etag: resp.Header.Get("ETag"), coding: resp.Header.Get("Content-Encoding"), vary: resp.Header.Get("Vary"), size: int64(len(body)),
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return v, fmt.Errorf("status %d", resp.StatusCode)
	case v.etag == "":
		return v, fmt.Errorf("no ETag")
	case v.coding != "" && !strings.Contains(r.accept, v.coding):
		return v, fmt.Errorf("coding %q was not asked for", v.coding)
	case v.coding != "" && !strings.EqualFold(v.vary, "Accept-Encoding"):
		return v, fmt.Errorf("coding %q with Vary %q", v.coding, v.vary)
	}
	if body, err = decode(v.coding, body); err != nil {
		return v, err
	}
	if int64(len(body)) != want.size || sha256.Sum256(body) != want.sum {
		return v, fmt.Errorf("the body (%d bytes) is not the file (%d bytes)", len(body), want.size)
	}
	return v, nil
}

// mixRequests is the mixture for one server.
func mixRequests(s *server, requests []mixed, known map[mixed]variant) []crowdRequest {
	orders := make([]crowdRequest, len(requests))
	for i, r := range requests {
		v := known[mixed{path: r.path, accept: r.accept}]
		order := crowdRequest{Path: s.asked(r.path), Status: http.StatusOK, Body: v.size}
		if r.accept != "" {
			order.Fields = append(order.Fields, [2]string{"Accept-Encoding", r.accept})
		}
		if r.conditional {
			order.Fields = append(order.Fields, [2]string{"If-None-Match", v.etag})
			order.Status, order.Body = http.StatusNotModified, 0
		}
		orders[i] = order
	}
	return orders
}

// mixFigures says what a server sends in the mixture, for people to compare.
func mixFigures(requests []mixed, known map[mixed]variant) string {
	codings := map[string]int{}
	var bytes int64
	for _, r := range requests {
		v := known[mixed{path: r.path, accept: r.accept}]
		switch {
		case r.conditional:
			codings["304"]++
		case v.coding == "":
			codings["bare"]++
			bytes += v.size
		default:
			codings[v.coding]++
			bytes += v.size
		}
	}
	share := func(what string) float64 { return 100 * float64(codings[what]) / float64(len(requests)) }
	return fmt.Sprintf("%.0f %% br, %.0f %% gzip, %.0f %% bare, %.0f %% 304; %.0f bytes a request",
		share("br"), share("gzip"), share("bare"), share("304"), float64(bytes)/float64(len(requests)))
}
