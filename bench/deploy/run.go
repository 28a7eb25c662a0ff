//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pennyfarthing/bench/debian"
)

// bench is one run.
type bench struct {
	opts   options
	out    io.Writer
	dir    string
	spawn  *spawner
	sides  []side
	report report

	tree     *tree
	deployed bool // the tree is at all destinations
	edits    int  // that were made, so that each is another
	edited   time.Time
}

// report is everything about a run.
type report struct {
	Command  string            `json:"command"`
	Date     time.Time         `json:"date"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Scale    float64           `json:"scale"`
	Turns    int               `json:"turns"`
	Trees    []treeReport      `json:"trees"`
	Planned  int               `json:"planned"` // rows
	Rows     []rowReport       `json:"rows"`
}

type treeReport struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// A rowReport is what both sides showed in one row.
type rowReport struct {
	Name   string   `json:"name"`
	What   string   `json:"what"`
	Penny  []sample `json:"penny"`
	Rsync  []sample `json:"rsync"`
	Failed string   `json:"failed,omitempty"`

	plan benchCase
}

// tools are the programs that must be there.
func tools() []debian.Tool {
	return []debian.Tool{
		{Program: "rsync", Package: "rsync"},
		{Program: "sshd", Package: "openssh-server"},
		{Program: "ssh", Package: "openssh-client"},
		{Program: "ssh-keygen", Package: "openssh-client"},
		{Program: "xargs", Package: "findutils"},
		{Program: "unshare", Package: "util-linux"},
	}
}

func run(ctx context.Context, opts options, cases []benchCase, out io.Writer) (err error) {
	if err := debian.Ensure(ctx, debian.Missing(tools()), opts.install, out); err != nil {
		return err
	}
	b := &bench{opts: opts, out: out, report: report{Command: opts.command, Date: time.Now(), Machine: thisMachine(), Scale: opts.scale, Turns: opts.turns, Planned: len(cases)}}
	if b.dir, err = os.MkdirTemp(opts.dir, "bench-deploy-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	b.spawn = newSpawner()
	defer b.spawn.close()
	if err := b.start(ctx); err != nil {
		return err
	}
	defer func() {
		for _, s := range b.sides {
			s.close()
		}
	}()
	if err := b.all(ctx, cases); err != nil {
		return err
	}
	err = b.finish()
	if opts.hold {
		b.hold(ctx)
	}
	return err
}

// hold keeps everything running, so that somebody can look at it.
func (b *bench) hold(ctx context.Context) {
	for _, s := range b.sides {
		_ = s.pause(false) // whoever has ended cannot be looked at
		s.tell(b.out)
	}
	fmt.Fprintf(b.out, "the tree is %s; Ctrl-C ends it all\n", b.tree.dir)
	<-ctx.Done()
}

// start starts both sides.
func (b *bench) start(ctx context.Context) error {
	binary := b.opts.penny
	if binary == "" {
		binary = filepath.Join(b.dir, "penny-program")
		if err := buildPenny(ctx, binary, b.out); err != nil {
			return err
		}
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	theirs, err := newRsync(ctx, b.spawn, filepath.Join(b.dir, "rsync"))
	if err != nil {
		return fmt.Errorf("set rsync up: %w", err)
	}
	ours, err := newPenny(ctx, b.spawn, binary, filepath.Join(b.dir, "penny"))
	if err != nil {
		theirs.close()
		return fmt.Errorf("set penny up: %w", err)
	}
	b.sides = []side{ours, theirs}
	b.report.Versions = make(map[string]string)
	for _, s := range b.sides {
		b.report.Versions[s.name()] = s.version()
	}
	return nil
}

func (b *bench) all(ctx context.Context, cases []benchCase) error {
	corpus, err := readCorpus(ctx)
	if err != nil {
		return err
	}
	for i, c := range cases {
		if i == 0 || cases[i-1].tree.name != c.tree.name {
			if err := b.grow(ctx, c.tree, corpus); err != nil {
				return err
			}
		}
		if err := b.one(ctx, c, i == 0 || cases[i-1].weather != c.weather); err != nil {
			return err
		}
	}
	return nil
}

// grow makes the tree that the next rows are about.
func (b *bench) grow(ctx context.Context, kind treeKind, c *corpus) error {
	if b.tree != nil {
		if err := os.RemoveAll(b.tree.dir); err != nil {
			return err
		}
	}
	kind.files = max(int(float64(kind.files)*b.opts.scale), 1)
	dir := filepath.Join(b.dir, "tree-"+kind.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "making %s\n", kind.what)
	var err error
	if b.tree, err = makeTree(ctx, kind, dir, c); err != nil {
		return err
	}
	b.deployed, b.edited = false, time.Now()
	b.report.Trees = append(b.report.Trees, treeReport{kind.name, kind.what, kind.files, b.tree.bytes})
	fmt.Fprintf(b.out, "%s: %d files, %.1f MB\n", kind.name, kind.files, float64(b.tree.bytes)/1e6)
	return nil
}

// one does a row. What goes wrong there is noted, and the next row begins with destinations that have nothing.
func (b *bench) one(ctx context.Context, c benchCase, turned bool) error {
	r := rowReport{Name: c.name(), What: c.row.what, plan: c}
	err := b.prepare(ctx, c, turned)
	if err == nil {
		err = b.turns(ctx, c, &r)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		r.Failed, b.deployed = err.Error(), false
	}
	b.report.Rows = append(b.report.Rows, r)
	r.print(b.out)
	return b.write() // a run takes long: what there is by now stays when it is interrupted
}

// prepare brings both sides to where the row begins, in the row's weather.
func (b *bench) prepare(ctx context.Context, c benchCase, turned bool) error {
	isFirst := c.row.name == firstRow
	if isFirst || !b.deployed {
		b.deployed = false
		for _, s := range b.sides {
			if err := errors.Join(s.pause(false), s.weather(ctx, near()), s.reset(ctx)); err != nil {
				return fmt.Errorf("%s: begin anew: %w", s.name(), err)
			}
		}
	}
	if !isFirst && !b.deployed {
		for _, s := range b.sides {
			if _, err := b.turn(ctx, s, change{first: true}); err != nil {
				return fmt.Errorf("%s: deploy before the row: %w", s.name(), err)
			}
		}
		b.deployed, turned = true, true
	}
	if turned || isFirst {
		for _, s := range b.sides {
			if err := s.weather(ctx, c.weather); err != nil {
				return fmt.Errorf("%s: change the network: %w", s.name(), err)
			}
		}
	}
	return nil
}

// turns measures a row. Who is first takes turns too, since the second finds the files in the kernel's cache.
func (b *bench) turns(ctx context.Context, c benchCase, r *rowReport) error {
	turns := b.opts.turns
	if c.row.name == firstRow {
		turns = 1
	}
	for turn := range turns {
		what := change{first: c.row.name == firstRow}
		if c.row.edit != nil {
			b.settle()
			b.edits++
			var err error
			if what.names, err = c.row.edit(b.tree, b.edits); err != nil {
				return fmt.Errorf("change the tree: %w", err)
			}
			b.edited = time.Now()
		}
		order := slices.Clone(b.sides)
		if turn%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			got, err := b.turn(ctx, s, what)
			if err != nil {
				return fmt.Errorf("turn %d: %w", turn+1, err)
			}
			if s.name() == ours {
				r.Penny = append(r.Penny, got)
			} else {
				r.Rsync = append(r.Rsync, got)
			}
		}
	}
	b.deployed = true
	return nil
}

// ours is the side that the bars are about.
const ours = "penny"

// settle lets a second pass since the last change: rsync takes a file for the same whose size and second are.
func (b *bench) settle() { time.Sleep(time.Until(b.edited.Add(1100 * time.Millisecond))) }

// turn deploys with one side, while the other does nothing.
func (b *bench) turn(ctx context.Context, s side, what change) (sample, error) {
	for _, other := range b.sides {
		if err := other.pause(other != s); err != nil {
			return sample{}, fmt.Errorf("%s: %w", other.name(), err)
		}
	}
	if !what.first {
		if err := s.rest(ctx); err != nil {
			return sample{}, fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	if err := syncFiles(b.dir); err != nil {
		return sample{}, err
	}
	b.settle()
	return s.deploy(ctx, b.tree, what)
}

// syncFiles has what was written before written to the disk, which would disturb whoever is next.
func syncFiles(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// finish prints what came of it all.
func (b *bench) finish() error {
	b.report.print(b.out)
	if slices.ContainsFunc(b.report.Rows, func(r rowReport) bool { return r.Failed != "" }) {
		return errFailedRows
	}
	return nil
}

// write writes the files that were asked for.
func (b *bench) write() error {
	var errs []error
	if b.opts.json != "" {
		data, err := json.MarshalIndent(b.report, "", "\t")
		if err == nil {
			err = os.WriteFile(b.opts.json, append(data, '\n'), 0o644)
		}
		errs = append(errs, err)
	}
	if b.opts.performance != "" {
		errs = append(errs, writePage(b.opts.performance, b.report))
	}
	return errors.Join(errs...)
}
