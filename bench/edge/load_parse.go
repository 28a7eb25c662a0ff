//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// outcome is what a load saw. Only a load without any error has one.
type outcome struct {
	requests int64
	elapsed  time.Duration
	p99      time.Duration
	bytes    float64 // wrk: head and body of all responses; h2load: bodies alone
	cpu      time.Duration
}

func (o outcome) rate() float64 { return float64(o.requests) / o.elapsed.Seconds() }

var errNoResponse = errors.New("the load got no response")

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([0-9.]+[a-z]+), ([0-9.]+)([KMGT]?B) read$`)
	wrkP99    = regexp.MustCompile(`(?m)^\s*99%\s+([0-9.]+[a-z]+)$`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$`)
)

// parseWrk reads the output of `wrk --latency`. Errors that it reports are an error here.
func parseWrk(text string) (outcome, error) {
	if m := wrkErrors.FindStringSubmatch(text); m != nil {
		return outcome{}, fmt.Errorf("wrk reports %q", m[1])
	}
	total, p99 := wrkTotal.FindStringSubmatch(text), wrkP99.FindStringSubmatch(text)
	if total != nil && total[1] == "0" {
		return outcome{}, errNoResponse
	}
	if total == nil || p99 == nil {
		return outcome{}, fmt.Errorf("wrk's output is not understood: %s", lastLine(text))
	}
	requests, err1 := strconv.ParseInt(total[1], 10, 64)
	elapsed, err2 := time.ParseDuration(total[2])
	read, err3 := strconv.ParseFloat(total[3], 64)
	tail, err4 := time.ParseDuration(p99[1])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return outcome{}, fmt.Errorf("wrk's output: %w", err)
	}
	unit := map[string]float64{"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[total[4]]
	return outcome{requests: requests, elapsed: elapsed, p99: tail, bytes: read * unit}, nil
}

var (
	h2loadFinished = regexp.MustCompile(`(?m)^finished in ([0-9.]+[a-z]+), `)
	h2loadRequests = regexp.MustCompile(`(?m)^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)
	h2loadStatus   = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
	h2loadTraffic  = regexp.MustCompile(`(?m)^traffic: .* \(\d+\) total, .* \((\d+)\) data$`)
)

// theCipher is the one that the loads offer, see loadTLS.
const theCipher = "TLS_AES_128_GCM_SHA256"

// parseH2load reads h2load's output. With counted (-n) every request must have been answered with 2xx; without (-D) some
// were on their way when time was up.
func parseH2load(text string, counted bool) (outcome, error) {
	finished, requests := h2loadFinished.FindStringSubmatch(text), h2loadRequests.FindStringSubmatch(text)
	status, traffic := h2loadStatus.FindStringSubmatch(text), h2loadTraffic.FindStringSubmatch(text)
	if finished == nil || requests == nil || status == nil || traffic == nil {
		return outcome{}, fmt.Errorf("h2load's output is not understood: %s", lastLine(text))
	}
	elapsed, err := time.ParseDuration(finished[1])
	if err != nil {
		return outcome{}, fmt.Errorf("h2load's output: %w", err)
	}
	counts, err := integers(slices.Concat(requests[1:], status[1:], traffic[1:]))
	if err != nil {
		return outcome{}, fmt.Errorf("h2load's output: %w", err)
	}
	total, succeeded, status2xx, bytes := counts[0], counts[3], counts[7], counts[11]
	troubles, otherStatus := counts[4]+counts[5]+counts[6], counts[8]+counts[9]+counts[10]
	switch {
	case otherStatus > 0, counted && (troubles > 0 || total != succeeded || total != status2xx):
		return outcome{}, fmt.Errorf("h2load reports %q, %q", requests[0], status[0])
	case succeeded == 0 || elapsed <= 0:
		return outcome{}, errNoResponse
	}
	return outcome{requests: succeeded, elapsed: elapsed, bytes: float64(bytes)}, nil
}

// checkH2loadTLS makes sure that h2load spoke what the case says.
func checkH2loadTLS(text, protocol string) error {
	for _, line := range []string{"TLS Protocol: TLSv1.3", "Cipher: " + theCipher, "Application protocol: " + protocol} {
		if !strings.Contains(text, line+"\n") {
			return fmt.Errorf("h2load does not report %q", line)
		}
	}
	return nil
}

func integers(fields []string) ([]int64, error) {
	numbers := make([]int64, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, err
		}
		numbers[i] = n
	}
	return numbers, nil
}

// parseH2loadLog reads h2load's --log-file, one line a response: start in us, status, duration in us. It returns the
// 99th percentile of the durations.
func parseH2loadLog(r io.Reader) (time.Duration, error) {
	var durations []int64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		parts := strings.Fields(lines.Text())
		if len(parts) != 3 {
			return 0, fmt.Errorf("h2load's log: %q", lines.Text())
		}
		n, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("h2load's log: %w", err)
		}
		if parts[1] != "200" {
			return 0, fmt.Errorf("h2load's log: status %s", parts[1])
		}
		durations = append(durations, n)
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if len(durations) == 0 {
		return 0, errors.New("h2load's log is empty")
	}
	return time.Duration(percentile99(durations)) * time.Microsecond, nil
}

func percentile99(values []int64) int64 {
	slices.Sort(values)
	return values[len(values)*99/100]
}
