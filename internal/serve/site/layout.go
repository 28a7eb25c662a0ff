package site

import (
	"path"
	"strings"

	"pennyfarthing/internal/encode"
)

// keepGenerations is for how many generations a fingerprinted file that is gone
// stays reachable, so that pages that were open go on working.
const keepGenerations = 2

// index lays out the paths: pages at their clean URLs, with redirects from their
// names; a file that itself has a page's clean URL keeps it.
func (c *compiler) index(assets []*asset) {
	names, pages := make(map[string]bool, len(assets)), 0
	for _, a := range assets {
		names[a.name] = true
		if strings.HasSuffix(a.name, ".html") {
			pages++
		}
	}
	c.site.paths = make(map[string]entry, len(assets)+2*pages) // a page has three
	for _, a := range assets {
		own := "/" + a.name
		if a.path = canonicalPath(a.name); names[a.path[1:]] {
			a.path = own
		}
		c.place(a)
		if a.path != own {
			c.alias(own, a.path)
		}
		if path.Base(a.name) == notFoundFile {
			c.addDocument(a)
		}
	}
	for _, a := range assets {
		c.aliases(a)
	}
	for _, a := range assets { // behind the others, so that sizes decide nothing
		if isIndex(a) {
			c.alias(a.path+"index", a.path)
		}
	}
}

// isIndex reports whether an asset is served at the path of its directory.
func isIndex(a *asset) bool {
	return path.Base(a.name) == "index.html" && strings.HasSuffix(a.path, "/")
}

func (c *compiler) place(a *asset) {
	c.site.paths[a.path] = entry{asset: int32(len(c.site.assets))}
	c.site.assets = append(c.site.assets, a)
}

// aliases adds the redirects of the spellings that visitors try: /blog for
// /blog/, /blog/index for /blog/, /about/ for /about.
func (c *compiler) aliases(a *asset) {
	switch {
	case isIndex(a):
		c.alias(strings.TrimSuffix(a.path, "/"), a.path)
	case a.path != "/"+a.name:
		c.alias(a.path+"/", a.path)
	}
}

// alias adds a redirect unless something stands at the path.
func (c *compiler) alias(from, to string) {
	if _, taken := c.site.paths[from]; !taken && from != "" {
		c.site.paths[from] = entry{asset: -1, to: to}
	}
}

// addDocument makes a 404.html the error document of its directory.
func (c *compiler) addDocument(page *asset) {
	dir, _ := path.Split(page.name)
	c.site.notFounds["/"+dir] = int32(len(c.site.assets))
	c.site.assets = append(c.site.assets, page.asDocument())
}

// asDocument returns the asset as an error document.
func (a *asset) asDocument() *asset {
	return a.withForms(func(twin *asset) {
		twin.document = true
		for coding, f := range a.forms {
			if f != nil {
				twin.addForm(encode.Coding(coding), f.level, f.mem, f.disk).given = f.given
			}
		}
	})
}

// retain takes fingerprinted files that are gone from the previous site, as long
// as they are not too old. One that lies on disk is kept if it is open.
func (c *compiler) retain() {
	if c.prev == nil {
		return
	}
	for _, old := range c.prev.assets {
		disk := old.identity().disk
		if !old.immutable || old.document || disk != nil && disk.file == nil || old.seen+keepGenerations < c.site.generation {
			continue
		}
		if e, taken := c.site.paths[old.path]; taken && e.asset >= 0 {
			continue
		}
		kept := old.withForms(func(twin *asset) { twin.retained = true })
		kept.shared = c.intern(assetFields(kept, kept.cacheControl(), c.edits(kept.path)))
		c.place(kept)
	}
}
