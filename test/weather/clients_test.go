package weather_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"pennyfarthing/test/link"
	"pennyfarthing/test/program"
)

func TestGoFetchesAThousandFilesOverABadLineOfIPv6(t *testing.T) {
	s := newSite(t)
	for i, engine := range engines {
		for j, protocol := range protocols {
			t.Run(engine+" "+protocol.alpn, func(t *testing.T) {
				t.Parallel()
				l, url, ca := serve(t, s, engine, (*link.Host).At6, uint64(100+10*i+j))
				client := program.Client(t, protocol.inGo, ca)
				program.From(t, client, l.Client.IPv6, l.Client.Do)
				if transport, ok := client.Transport.(*http.Transport); ok {
					transport.MaxConnsPerHost = 32
				}
				start := time.Now()
				got := getAll(t.Context(), client, url, s.names)
				report(t, l, s, start)
				s.compare(t, got)
				for _, f := range got {
					if f.Error == "" && f.Protocol != protocol.inGo {
						t.Errorf("%s came over %s, want %s", f.Name, f.Protocol, protocol.inGo)
					}
				}
			})
		}
	}
}

// getAll fetches files, fifty at a time. Of more the last would have to wait long
// on a machine that is busy, and penny breaks off what waits long.
func getAll(ctx context.Context, client *http.Client, url string, names []string) []file {
	all := make([]file, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range 50 {
		workers.Go(func() {
			for i := range next {
				all[i] = get(ctx, client, url, names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	return all
}

func get(ctx context.Context, client *http.Client, url, name string) file {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+name, http.NoBody)
	if err != nil {
		return file{Name: name, Error: err.Error()}
	}
	resp, err := client.Do(req)
	if err != nil {
		return file{Name: name, Error: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return file{Name: name, Status: resp.StatusCode, Error: err.Error()}
	}
	sum := sha256.Sum256(body)
	return file{Name: name, Status: resp.StatusCode, Size: len(body), Sum: hex.EncodeToString(sum[:]), Protocol: resp.Proto}
}
