package define

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/evidence"
)

// Limits of an expression. A row has some dozens of tries at most, so an expression
// of these cannot take long: it has no loop but over what a row has.
const (
	maxText   = 4 << 10 // bytes
	maxNodes  = 500
	maxNested = 1     // loops in a loop
	maxMemory = 10000 // elements that it may make
	maxName   = 40    // bytes of a name or class
)

// Parse makes a definition of a built-in's name, an expression, or name=expression.
// An expression is one of the language of github.com/expr-lang/expr over the columns
// of a row, by their names, and gives a bool (true is dead, false is alive) or a
// string, which is the class. Rows that were not to be asked are skipped before it
// sees them, and what it calls dead without any answer is suspect where the row is.
//
// What is wrong is a [*mistake.Error] with its line and column in the expression.
func Parse(text string, p Policy) (*Definition, error) {
	for _, d := range Builtin(p) {
		if d.name == text {
			return d, nil
		}
	}
	name, expression := text, text
	offset := 0
	if before, after, ok := cutName(text); ok {
		name, expression, offset = before, after, len(text)-len(after)
		if slices.Contains(builtinNames(), name) {
			return nil, &mistake.Error{File: fileName, Line: 1, Column: 1, What: name + " is built in", Hint: "give yours another name"}
		}
	}
	if len(text) > maxText {
		return nil, &mistake.Error{File: fileName, What: fmt.Sprintf("it has %d bytes, and %d are allowed", len(text), maxText)}
	}
	if word := strings.TrimSpace(text); isName(word) {
		if near, ok := mistake.Nearest(word, builtinNames()); ok {
			return nil, &mistake.Error{File: fileName, Line: 1, Column: 1, What: fmt.Sprintf("there is no definition %s", word), Hint: "did you mean " + near + "?"}
		}
	}
	program, err := compile(expression)
	if err != nil {
		return nil, explain(err, expression, offset)
	}
	return &Definition{name: name, text: strings.TrimSpace(expression), judge: program.judge}, nil
}

// fileName stands in errors where the name of a file would.
const fileName = "definition"

// cutName cuts name=expression. The sign of equality has two =.
func cutName(text string) (name, expression string, ok bool) {
	name, expression, ok = strings.Cut(text, "=")
	if !ok || !isName(name) || strings.HasPrefix(expression, "=") {
		return "", "", false
	}
	return name, expression, true
}

// isName reports whether a text can be the name of a definition or class.
func isName(text string) bool {
	if text == "" || len(text) > maxName {
		return false
	}
	for i, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// A program is a compiled expression.
type program struct {
	code    *vm.Program
	boolean bool
}

func compile(text string) (*program, error) {
	rules := &rules{}
	code, err := expr.Compile(text,
		expr.Env(new(evidence.Row)),
		expr.MaxNodes(maxNodes),
		expr.DisableBuiltin("now"), // the same rows give the same answer tomorrow
		expr.DisableBuiltin("repeat"),
		expr.Patch(rules),
	)
	if rules.err != nil {
		return nil, rules.err
	}
	if err != nil {
		return nil, err
	}
	switch kind := code.Node().Type(); {
	case kind != nil && kind.Kind() == reflect.Bool:
		return &program{code, true}, nil
	case kind != nil && kind.Kind() == reflect.String:
		return &program{code, false}, nil
	case kind == nil || kind.Kind() == reflect.Interface:
		return nil, &file.Error{Message: "it gives values of several types, and must give a bool or a string"}
	default:
		return nil, &file.Error{Message: fmt.Sprintf("it gives %v, and must give a bool or a string", kind)}
	}
}

var errClass = errors.New("it gave a class whose name is not one: letters, digits, _ and -, at most 40")

func (p *program) judge(row *evidence.Row) (Class, error) {
	none := !answered(row)
	if none {
		if class, ok := silent(row); ok && class == Skipped {
			return Skipped, nil
		}
	}
	machine := vm.VM{MemoryBudget: maxMemory}
	value, err := machine.Run(p.code, row)
	if err != nil {
		return Failed, err
	}
	class := Alive
	switch v := value.(type) {
	case bool:
		if v {
			class = Dead
		}
	case string:
		if !isName(v) {
			return Failed, errClass
		}
		class = Class(v)
	}
	if class == Dead && none {
		if c, ok := silent(row); ok && c == Suspect {
			return Suspect, nil
		}
	}
	return class, nil
}

// rules refuses what could make an expression take long.
type rules struct {
	err *file.Error
}

// Visit sees every node.
func (r *rules) Visit(node *ast.Node) {
	if r.err != nil {
		return
	}
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		if n.Operator == ".." {
			r.err = &file.Error{Location: n.Location(), Message: "ranges are not allowed"}
		}
	case *ast.PredicateNode:
		var inside loops
		body := n.Node
		ast.Walk(&body, &inside)
		if inside > maxNested {
			r.err = &file.Error{Location: n.Location(), Message: fmt.Sprintf("a loop holds %d others, and may hold %d", inside, maxNested)}
		}
	}
}

// loops counts the predicates of all, any, filter and the like.
type loops int

// Visit sees every node.
func (l *loops) Visit(node *ast.Node) {
	if _, ok := (*node).(*ast.PredicateNode); ok {
		*l++
	}
}

// explain turns an error of the library into one with its place and a hint.
func explain(err error, expression string, offset int) error {
	f, ok := errors.AsType[*file.Error](err)
	if !ok {
		return &mistake.Error{File: fileName, What: err.Error()}
	}
	m := &mistake.Error{File: fileName, What: f.Message}
	// The library counts runes from the beginning of the expression.
	runes, at := 0, len(expression)
	for i := range expression {
		if runes == f.From {
			at = i
			break
		}
		runes++
	}
	before := expression[:at]
	m.Line = 1 + strings.Count(before, "\n")
	m.Column = at - strings.LastIndexByte(before, '\n')
	if m.Line == 1 {
		m.Column += offset
	}
	m.What = strings.NewReplacer("type evidence.Try", "a try", "type *evidence.Row", "a row", "type evidence.Row", "a row",
		"[]evidence.Try", "tries", "evidence.Try", "try", "*evidence.Row", "row").Replace(m.What)
	m.Hint = hint(expression[at:], m.What)
	return m
}

// hint names the column that was meant, or all of them.
func hint(rest, what string) string {
	known := columnNames(reflect.TypeFor[evidence.Row]())
	if strings.HasPrefix(what, "a try ") || strings.HasPrefix(rest, ".") {
		known = columnNames(reflect.TypeFor[evidence.Try]())
	}
	word := strings.TrimLeft(rest, ".#?")
	end := strings.IndexFunc(word, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	if end >= 0 {
		word = word[:end]
	}
	if strings.HasPrefix(what, `unexpected token Operator("=")`) {
		return "equality is =="
	}
	if strings.HasPrefix(what, "it gives") {
		return "write a comparison, such as status == 404 or verdict startsWith \"dns.\""
	}
	if near, ok := mistake.Nearest(word, known); ok && near != word {
		return "did you mean " + near + "?"
	}
	return "the columns are " + strings.Join(known, ", ")
}

// columnNames are the names that expressions know the fields of a struct by.
func columnNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		names = append(names, f.Tag.Get("expr"))
	}
	return names
}
