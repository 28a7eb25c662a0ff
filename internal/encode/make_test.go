package encode_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pennyfarthing/internal/encode"
)

func TestWhatManyWantIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := encode.OpenCache(t.TempDir(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		begin := make(chan struct{})
		code := func() ([]byte, error) {
			<-begin
			made++ // one at a time, or the race detector says so
			return []byte("coded"), nil
		}
		var wait sync.WaitGroup
		results := make([][]byte, 5)
		for i := range results {
			wait.Go(func() {
				var err error
				if results[i], err = c.Make([32]byte{1}, encode.Brotli, encode.Best, code); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all but one wait for that one
		close(begin)
		wait.Wait()
		if made != 1 || slices.ContainsFunc(results, func(r []byte) bool { return string(r) != "coded" }) {
			t.Errorf("it was made %d times, and they got %q", made, results)
		}
		if data, ok := c.Get([32]byte{1}, encode.Brotli, encode.Best); !ok || string(data) != "coded" {
			t.Errorf("the cache has %q, %v", data, ok)
		}
		if data, err := c.Make([32]byte{1}, encode.Brotli, encode.Best, func() ([]byte, error) { return nil, errors.New("again") }); err != nil || string(data) != "coded" {
			t.Errorf("after that: %q, %v", data, err)
		}
	})
}

func TestWhatCannotBeMadeIsTriedAgain(t *testing.T) {
	c, err := encode.OpenCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := c.Make([32]byte{1}, encode.Brotli, encode.Best, func() ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if data, err := c.Make([32]byte{1}, encode.Brotli, encode.Best, func() ([]byte, error) { return []byte("well"), nil }); err != nil || string(data) != "well" {
		t.Errorf("%q, %v", data, err)
	}
	var none *encode.Cache
	if data, err := none.Make([32]byte{1}, encode.Brotli, encode.Best, func() ([]byte, error) { return []byte("well"), nil }); err != nil || string(data) != "well" {
		t.Errorf("without a cache: %q, %v", data, err)
	}
}
