package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pennyfarthing/internal/fleet/api"
)

// A ConfigChange is one thing that differs between two configurations. From is empty for
// what is new, To for what is gone.
type ConfigChange struct {
	What string `json:"what"` // "site example.org", "edge header_bytes"
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String writes a change in one line.
func (c ConfigChange) String() string {
	switch {
	case c.From == "" && c.To == there:
		return "+ " + c.What
	case c.To == "" && c.From == there:
		return "- " + c.What
	case c.From == "":
		return "+ " + c.What + ": " + c.To
	case c.To == "":
		return "- " + c.What + ": " + c.From
	}
	return "~ " + c.What + ": " + c.From + " -> " + c.To
}

// there is the value of something that has a name and is more than one value.
const there = "there"

// DiffConfig returns how two configurations differ, other than by number and time, in
// the order of what differs. Of something that is gone as a whole only that is said.
func DiffConfig(old, new api.Config) []ConfigChange {
	before, after := flatten(old), flatten(new)
	what := maps.Clone(before)
	maps.Copy(what, after)
	changes := []ConfigChange{}
	gone := "\x00" // begins no name
	for _, name := range slices.Sorted(maps.Keys(what)) {
		from, to := before[name], after[name]
		if from == to || strings.HasPrefix(name, gone+" ") {
			continue
		}
		if from == there {
			gone = name
		}
		changes = append(changes, ConfigChange{name, from, to})
	}
	return changes
}

// flatten turns a configuration into names and values. It goes by the JSON that POPs are
// sent, so that nothing can be forgotten here.
func flatten(c api.Config) map[string]string {
	data, err := json.Marshal(c)
	var fields map[string]any
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		panic(err) // strings and numbers always have this form
	}
	delete(fields, "number")
	delete(fields, "time")
	flat := make(map[string]string)
	flattenInto(flat, "", fields)
	return flat
}

// singular is what one of a list is called.
func singular(list string) string {
	if list == "pops" {
		return "POP"
	}
	return strings.TrimSuffix(list, "s")
}

func flattenInto(flat map[string]string, prefix string, fields map[string]any) {
	for name, value := range fields {
		switch value := value.(type) {
		case map[string]any:
			flattenInto(flat, prefix+name+" ", value)
		case []any:
			var words []string
			for _, item := range value {
				object, ok := item.(map[string]any)
				if !ok {
					words = append(words, fmt.Sprint(item))
					continue
				}
				of := prefix + singular(name) + " " + fmt.Sprint(object["name"])
				delete(object, "name")
				flat[of] = there
				flattenInto(flat, of+" ", object)
			}
			if len(words) > 0 {
				flat[prefix+name] = strings.Join(words, ", ")
			}
		case float64:
			flat[prefix+name] = strconv.FormatFloat(value, 'f', -1, 64)
		case nil: // an empty list
		default:
			flat[prefix+name] = fmt.Sprint(value)
		}
	}
}
