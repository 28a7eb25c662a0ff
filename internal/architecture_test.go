// Package internal_test holds the rules of the whole house that no linter
// knows. Which package may import which others directly is in .golangci.yml;
// here is what a binary carries in the end, and where a program may start,
// stop and hide its tests.
package internal_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forbidden packages must not be in the binary; those below them neither.
var forbidden = []struct{ pkg, why string }{
	{"testing", "it brings its flags into the program's; helpers for tests go into a package of their own"},
	{"plugin", "the binary is static"},
	{"github.com/google/go-cmp", "it is for tests, and may panic on what it does not know"},
	{"github.com/rogpeppe/go-internal", "it is for tests"},
	{"github.com/spf13/cobra/doc", "manual pages are written when a release is made; it brings a YAML library"},
	{"github.com/spf13/viper", "the fleet file is the configuration, read by internal/fleet/config"},
	{"github.com/valyala/fasthttp", "its HTTP/1.1 is not strict; ours is measured beside net/http and agrees with it"},
	{"gopkg.in/yaml.v3", "files that people write are TOML"},
}

func TestTheBinaryCarriesNothingForbidden(t *testing.T) {
	deps := dependencies(t, "cmd/penny")
	for _, f := range forbidden {
		for _, dep := range deps {
			if within(dep, f.pkg) {
				t.Errorf("penny carries %s: %s", dep, f.why)
			}
		}
	}
}

func TestServeAndSweepNeverMeet(t *testing.T) {
	for wheel, other := range map[string]string{"serve": "sweep", "sweep": "serve"} {
		if _, err := os.Stat(wheel); errors.Is(err, fs.ErrNotExist) {
			continue // a wheel that is not there yet meets nobody
		}
		for _, dep := range dependencies(t, "internal/"+wheel+"/...") {
			if within(dep, "pennyfarthing/internal/"+other) {
				t.Errorf("internal/%s depends on %s, directly or not; what both need is a leaf", wheel, dep)
			}
		}
	}
}

func TestMainIsShort(t *testing.T) {
	const limit = 40
	text, err := os.ReadFile("../cmd/penny/main.go")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no cmd/penny/main.go yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines >= limit {
		t.Errorf("cmd/penny/main.go has %d lines, want fewer than %d: what it does belongs into internal/cli", lines, limit)
	}
}

func TestOnlyMainStopsTheProcess(t *testing.T) {
	stops := map[string][]string{
		"os":  {"Exit"},
		"log": {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
	}
	for _, file := range sources(t) {
		if file.test || file.syntax.Name.Name == "main" {
			continue
		}
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && slices.Contains(stops[pkg.Name], call.Sel.Name) {
				t.Errorf("%s: %s.%s: return an error; only main ends the process", file.at(call), pkg.Name, call.Sel.Name)
			}
			return true
		})
	}
}

func TestNoPackageHasAnInit(t *testing.T) {
	for _, file := range sources(t) {
		for _, decl := range file.syntax.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: wiring is visible, by hand, in one place a process", file.at(f))
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, file := range sources(t) {
		if file.test {
			continue
		}
		dir := filepath.Dir(file.path)
		opening := "Package " + file.syntax.Name.Name + " "
		if file.syntax.Name.Name == "main" {
			opening = "Command "
		}
		said[dir] = said[dir] || strings.HasPrefix(file.syntax.Doc.Text(), opening)
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment: what it owns, what it promises, what it will never do", dir)
		}
	}
}

// TestNoTestHidesBehindABuildTag sees to it that make test runs every test: a
// file with tests may be for some systems only, but needs no tag that somebody
// types, and is not left out under the race detector, where a skip is seen.
func TestNoTestHidesBehindABuildTag(t *testing.T) {
	for _, file := range sources(t) {
		if !file.test || !file.hasTests() {
			continue
		}
		for _, group := range file.syntax.Comments {
			for _, comment := range group.List {
				expr, err := constraint.Parse(comment.Text)
				if err == nil && !slices.ContainsFunc(platforms, func(p platform) bool { return expr.Eval(p.has) }) {
					t.Errorf("%s: %s: make test does not run these; skip with a reason instead", file.at(comment), comment.Text)
				}
			}
		}
	}
}

func TestEveryDependencyIsExplained(t *testing.T) {
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	explained, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(gomod)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		direct := len(fields) == 2 && strings.HasPrefix(fields[1], "v")
		if direct && !bytes.Contains(explained, []byte("`"+fields[0]+"`")) {
			t.Errorf("go.mod requires %s, and docs/dependencies.md does not say why", fields[0])
		}
	}
}

// A platform is a system that somebody may run make test on.
type platform struct{ os, arch string }

var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"linux", "riscv64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

// has says whether a build tag holds there under the race detector.
func (p platform) has(tag string) bool {
	return tag == p.os || tag == p.arch || tag == "unix" && p.os != "windows" ||
		tag == "race" || tag == "gc" || strings.HasPrefix(tag, "go1.")
}

// dependencies lists everything that the packages of a directory of the module
// depend on, themselves included, tests left out.
func dependencies(t *testing.T, dir string) []string {
	t.Helper()
	if files, err := filepath.Glob("../" + strings.TrimSuffix(dir, "/...") + "/*"); err != nil || len(files) == 0 {
		t.Skipf("there is nothing in %s yet", dir)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "./"+dir)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return strings.Fields(string(out))
}

// within says whether an import path is pkg or lies below it.
func within(path, pkg string) bool {
	return path == pkg || strings.HasPrefix(path, pkg+"/")
}

// A source is one Go file of the program: of cmd or of internal.
type source struct {
	path   string
	test   bool
	fset   *token.FileSet
	syntax *ast.File
}

func (s source) at(n ast.Node) token.Position { return s.fset.Position(n.Pos()) }

func (s source) hasTests() bool {
	return slices.ContainsFunc(s.syntax.Decls, func(decl ast.Decl) bool {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			return false
		}
		return slices.ContainsFunc([]string{"Test", "Fuzz", "Example"}, func(kind string) bool {
			return strings.HasPrefix(f.Name.Name, kind)
		})
	})
}

func sources(t *testing.T) []source {
	t.Helper()
	fset := token.NewFileSet()
	var all []source
	for _, root := range []string{"../cmd", "../internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return filepath.SkipDir
			case d.IsDir() || filepath.Ext(path) != ".go":
				return nil
			}
			syntax, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			all = append(all, source{path, strings.HasSuffix(path, "_test.go"), fset, syntax})
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if len(all) == 0 {
		t.Fatal("no Go files were found, so nothing was checked")
	}
	return all
}
