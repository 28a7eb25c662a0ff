//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// theFloor is what a server could cost at the least. It is neither ours nor a peer, and runs only when it is named.
const theFloor = "floor"

// notServed is why a server has no figure in a case in which it has no part.
const notServed = "not served"

func floorProgram() program {
	return program{
		name: theFloor, serves: notServed, fixedOnly: true,
		version: func(context.Context, string) (string, error) {
			return "a bare loop over sockets, crypto/tls of " + runtime.Version(), nil
		},
		configure: func(p place) (invocation, error) {
			order := floorOrder{Root: p.root}
			var err error
			if order.Address, err = netip.ParseAddrPort(p.listen()); err != nil {
				return invocation{}, err
			}
			if p.mode.tls() {
				order.Cert, order.Key = p.cert.certFile, p.cert.keyFile
			}
			text, err := json.Marshal(order)
			return invocation{args: []string{"-" + floorFlag, string(text)}, ifOrphaned: syscall.SIGKILL}, err
		},
	}
}

var notFound = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

// floorAnswers are whole answers by path, with a head as long as a real one.
func floorAnswers(root string) (map[string][]byte, error) {
	answers := map[string][]byte{}
	for _, f := range fixedBodies {
		name := filepath.Join(root, fixedPath(f.name))
		body, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		const format = "Mon, 02 Jan 2006 15:04:05 GMT"
		changed := info.ModTime().UTC()
		var head strings.Builder
		fmt.Fprintf(&head, "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\nLast-Modified: %s\r\nETag: \"%x-%x\"\r\n",
			time.Now().UTC().Format(format), len(body), changed.Format(format), changed.Unix(), len(body))
		for _, f := range fields {
			fmt.Fprintf(&head, "%s: %s\r\n", f.name, f.value)
		}
		answers[fixedPath(f.name)] = append([]byte(head.String()+"\r\n"), body...)
	}
	return answers, nil
}
