package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// readCSV adds the rows of one part.
func readCSV(name string, got map[string]int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	header = slices.Clone(header)
	target, status := slices.Index(header, "target"), slices.Index(header, "status")
	if target < 0 || status < 0 {
		return fmt.Errorf("%s has no target or status", name)
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		n, err := strconv.Atoi(row[status])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, twice := got[row[target]]; twice {
			return fmt.Errorf("%s: %s has two rows", name, row[target])
		}
		got[row[target]] = n
	}
}
