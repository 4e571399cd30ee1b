package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/scheduler"
)

// Duration is the option's value, which must be above zero.
func (s *Settings) Duration(name string) (time.Duration, error) {
	text, err := s.Text(name)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, refuse(fmt.Sprintf("%s %q is not a duration above zero: write one like 90s, 15m or 24h", lookup(name).Flag(), text))
	}
	return d, nil
}

// DurationOrNone is the option's value, a duration above zero, or 0 where it has none.
func (s *Settings) DurationOrNone(name string) (time.Duration, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return 0, err
	}
	return s.Duration(name)
}

// Count is the option's value, a whole number from 1 to most.
func (s *Settings) Count(name string, most int) (int, error) {
	text, err := s.Text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, refuse(fmt.Sprintf("%s %q is not a whole number from 1 to %d", lookup(name).Flag(), text, most))
	}
	return n, nil
}

// CountOrNone is the option's value, a whole number from 1 to most, or 0 where it has none.
func (s *Settings) CountOrNone(name string, most int) (int, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return 0, err
	}
	return s.Count(name, most)
}

// Rate is the option's value, a number in a second, minute, hour or day such as 100/min, or 0 where it has none.
func (s *Settings) Rate(name string) (n int, per time.Duration, err error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return 0, 0, err
	}
	number, unit, _ := strings.Cut(text, "/")
	units := map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	n, err = strconv.Atoi(strings.TrimSpace(number))
	per = units[strings.TrimSpace(unit)]
	if err != nil || n < 1 || n > 1_000_000 || per == 0 {
		return 0, 0, refuse(fmt.Sprintf("%s %q is not NUMBER/s, /min, /h or /d, such as 100/min, with a number from 1 to 1000000", lookup(name).Flag(), text))
	}
	return n, per, nil
}

// Budget is the option's value, bytes and a number of entries such as 64MiB,100000.
func (s *Settings) Budget(name string) (bytes, entries int64, err error) {
	text, err := s.Text(name)
	if err != nil {
		return 0, 0, err
	}
	size, number, _ := strings.Cut(text, ",")
	digits, shift := strings.TrimSpace(size), 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if cut, ok := strings.CutSuffix(digits, unit); ok {
			digits, shift = cut, 10*(i+1)
		}
	}
	bytes, bytesErr := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	entries, entriesErr := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if bytesErr != nil || entriesErr != nil || bytes < 1 || bytes > math.MaxInt64>>shift || entries < 1 {
		return 0, 0, refuse(fmt.Sprintf("%s %q is not BYTES,NUMBER, such as 64MiB,100000: bytes in KiB, MiB or GiB, both above zero", lookup(name).Flag(), text))
	}
	return bytes << shift, entries, nil
}

// Weights is the option's value, such as critical=6,mail=3.
func (s *Settings) Weights(name string) (map[string]int, error) {
	text, err := s.Text(name)
	if err != nil {
		return nil, err
	}
	weights := make(map[string]int)
	for part := range strings.SplitSeq(text, ",") {
		queue, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		weight, err := strconv.Atoi(number)
		switch {
		case err != nil, weight < 1, weight > 1000, queue == "", strings.ContainsAny(queue, "{} "):
			return nil, refuse(fmt.Sprintf("%s: %q is not QUEUE=WEIGHT, such as critical=6, with a weight from 1 to 1000", lookup(name).Flag(), part))
		case weights[queue] != 0:
			return nil, refuse(fmt.Sprintf("%s names the queue %q twice", lookup(name).Flag(), queue))
		}
		weights[queue] = weight
	}
	return weights, nil
}

// Cron is the option's value, a cron expression that the scheduler takes.
func (s *Settings) Cron(name string) (string, error) {
	text, err := s.Text(name)
	if err != nil {
		return "", err
	}
	if _, err := scheduler.Parse(text, ""); err != nil {
		return "", refuse(fmt.Sprintf("%s: %v: write five fields like \"*/5 * * * *\", or one like \"@every 5m\"", lookup(name).Flag(), err))
	}
	return text, nil
}

// Address is the option's value, an address to listen on.
func (s *Settings) Address(name string) (string, error) {
	text, err := s.Text(name)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(text)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		return "", refuse(fmt.Sprintf("%s %q is not HOST:PORT, such as 127.0.0.1:8080 or :8080", lookup(name).Flag(), text))
	}
	return text, nil
}

// Networks is the option's value: networks and single addresses, none where it is empty. One of everybody is refused.
func (s *Settings) Networks(name string) ([]netip.Prefix, error) {
	text, err := s.Text(name)
	if err != nil || text == "" {
		return nil, err
	}
	var all []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		network, err := netip.ParsePrefix(part)
		if single, singleErr := netip.ParseAddr(part); singleErr == nil && single.Zone() == "" {
			network, err = netip.PrefixFrom(single, single.BitLen()), nil
		}
		switch {
		case err != nil, network.Addr().Is4In6():
			return nil, refuse(fmt.Sprintf("%s: %q is neither a network, such as 10.0.0.0/8 or fd00::/8, nor an address", lookup(name).Flag(), part))
		case network.Bits() == 0:
			return nil, refuse(fmt.Sprintf("%s: %s is everybody: name the networks of your proxies", lookup(name).Flag(), part))
		}
		all = append(all, network.Masked())
	}
	return all, nil
}

// Page is the option's value, an http or https URL.
func (s *Settings) Page(name string) (string, error) {
	text, err := s.Text(name)
	if err != nil {
		return "", err
	}
	u, err := ParseURL(lookup(name).Flag(), text)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", refuse(lookup(name).Flag() + " must be an http:// or https:// URL with a host and without a user, such as https://app.example")
	}
	return text, nil
}

// Path is the option's value, a path below the base URL.
func (s *Settings) Path(name string) (string, error) {
	text, err := s.Text(name)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(text, "/") || u.Path != text || path.Clean(text) != text {
		return "", refuse(fmt.Sprintf("%s %q is not a plain path, such as /confirm: it begins with /, and has neither a host nor a query", lookup(name).Flag(), text))
	}
	return text, nil
}

// Yes is the option's value, yes or no.
func (s *Settings) Yes(name string) (bool, error) {
	text, err := s.Text(name)
	if err != nil {
		return false, err
	}
	if text != "yes" && text != "no" {
		return false, refuse(fmt.Sprintf("%s %q is not yes or no", lookup(name).Flag(), text))
	}
	return text == "yes", nil
}

// LogLevel is the value of --log-level.
func (s *Settings) LogLevel() (slog.Level, error) {
	text, err := s.Text("log-level")
	if err != nil {
		return 0, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, refuse(fmt.Sprintf("--log-level %q is not debug, info, warn or error", text))
	}
	return level, nil
}

// LogJSON says whether --log-format asks for JSON.
func (s *Settings) LogJSON() (bool, error) {
	text, err := s.Text("log-format")
	if err != nil {
		return false, err
	}
	if text != "text" && text != "json" {
		return false, refuse(fmt.Sprintf("--log-format %q is not text or json", text))
	}
	return text == "json", nil
}
