package resolve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"pennyfarthing/internal/mistake"
)

const (
	resolvConf     = "/etc/resolv.conf"
	mostResolvConf = 1 << 16 // bytes that are read of it
	portDNS        = 53
)

// System returns the machine's resolvers, in the order of /etc/resolv.conf. Of the
// rest of that file nothing is used, least of all its search list.
func System() ([]netip.AddrPort, error) { return system(resolvConf) }

func system(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noResolver(path, "there is no such file")
	}
	if err != nil {
		return nil, fmt.Errorf("find the machine's resolvers: %w", err)
	}
	defer f.Close()
	list, err := parseResolvConf(io.LimitReader(f, mostResolvConf))
	if err != nil {
		return nil, fmt.Errorf("find the machine's resolvers in %s: %w", path, err)
	}
	if len(list) == 0 {
		return nil, noResolver(path, "no line of it names a nameserver with an address")
	}
	return list, nil
}

func noResolver(path, what string) error {
	return &mistake.Error{File: path, What: what, Hint: "name a resolver: --resolver 127.0.0.1"}
}

// parseResolvConf reads the nameserver lines of resolv.conf(5). What is no address is
// passed over, as libc does.
func parseResolvConf(r io.Reader) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, mostResolvConf)
	for lines.Scan() && len(list) < mostServers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(addr, portDNS))
		}
	}
	return list, lines.Err()
}

// Public reports whether an address is that of a well-known public resolver. They are
// shared, and limit the questions of each who asks.
func Public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range [...]string{
		"8.8.8.8/32", "8.8.4.4/32", "2001:4860:4860::/48", // Google
		"1.1.1.0/29", "1.0.0.0/29", "2606:4700:4700::/48", // Cloudflare
		"9.9.9.0/27", "149.112.112.0/24", "2620:fe::/48", // Quad9
		"208.67.216.0/21", "2620:119:35::/48", "2620:119:53::/48", // OpenDNS
		"94.140.14.0/23", "2a10:50c0::/32", // AdGuard
		"185.228.168.0/23", "2a0d:2a00::/32", // CleanBrowsing
		"76.76.2.0/24", "76.76.10.0/24", "2606:1a40::/32", // Control D
		"4.2.2.0/29", "64.6.64.0/23", "77.88.8.0/29", "114.114.114.0/24", "223.5.5.5/32", "223.6.6.6/32", "119.29.29.29/32",
	} {
		if netip.MustParsePrefix(p).Contains(addr) {
			return true
		}
	}
	return false
}
