package mistake_test

import (
	"errors"
	"fmt"
	"testing"

	"pennyfarthing/internal/mistake"
)

func TestListErrSortsByPlaceAndKeepsEveryMistake(t *testing.T) {
	var list mistake.List
	list.Add(&mistake.Error{File: "_headers", Line: 9, What: "second"})
	list.Add(&mistake.Error{File: "_headers", Line: 2, Column: 5, What: "first"})
	err := fmt.Errorf("compile site: %w", list.Err())
	if got, want := mistake.Of(err).Error(), "_headers:2:5: first\n_headers:9: second"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	one, ok := errors.AsType[*mistake.Error](err)
	if !ok || one.Line != 2 {
		t.Errorf("errors.AsType found %v, want the first mistake", one)
	}
}

func TestEmptyListIsNoError(t *testing.T) {
	if err := (mistake.List{}).Err(); err != nil {
		t.Errorf("Err of an empty list is %v", err)
	}
}

func TestNearestFindsTyposOnly(t *testing.T) {
	known := []string{"addresses", "place", "price", "default"}
	for word, want := range map[string]string{
		"adresses": "addresses", "palce": "place", "PRICE": "price", "defualt": "default", "colour": "", "x": "",
	} {
		if got, _ := mistake.Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
