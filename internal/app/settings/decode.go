package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Size is a number of bytes.
type Size int64

// String returns the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

type unit struct {
	name  string
	bytes int64
}

// units are read from the first; the binary ones come first so that String
// uses them.
func units() []unit {
	return []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}
}

// ParseSize reads "25MiB", "10MB", "4096" (bytes).
func ParseSize(s string) (Size, error) {
	number, factor := strings.TrimSpace(s), int64(1)
	for _, u := range units() {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > (1<<62)/factor {
		return 0, fmt.Errorf("%q is not a size; write it like 25MiB", s)
	}
	return Size(int64(n) * factor), nil
}

// set parses what a layer holds (a string or a []string) into a field.
func set(target reflect.Value, f Field, raw any) error {
	list, isList := raw.([]string)
	text, _ := raw.(string)
	switch p := target.Addr().Interface().(type) {
	case *[]string:
		if slices.Contains(list, "") {
			return errors.New("has an empty entry")
		}
		*p = list
	case *[]netip.Prefix:
		prefixes, err := parsePrefixes(list)
		if err != nil {
			return err
		}
		*p = prefixes
	case *bool:
		on, err := parseSwitch(text)
		if err != nil {
			return err
		}
		*p = on
	case *time.Duration:
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		*p = d
	case *Size:
		n, err := ParseSize(text)
		if err != nil {
			return err
		}
		*p = n
	case *string:
		if len(f.Words) > 0 && !slices.Contains(f.Words, text) {
			return &wordError{got: text, words: f.Words}
		}
		*p = text
	default:
		return fmt.Errorf("has a type that cannot be set (%v, list %t)", target.Type(), isList)
	}
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, errors.New("is empty; write it like 48h, 10m or 30s")
	}
	return v1.Duration(s).Parse()
}

// parsePrefixes reads CIDR ranges and single addresses.
func parsePrefixes(list []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			a = a.Unmap()
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is neither an address nor a range like 10.0.0.0/8", s)
		case p.Masked() != p:
			return nil, fmt.Errorf("%q has bits beyond its length; did you mean %s?", s, p.Masked())
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// checkLimits compares with a tag like "1s..24h".
func checkLimits(f Field, target reflect.Value) error {
	low, high, ok := strings.Cut(f.limits, "..")
	if !ok {
		return nil
	}
	outside := false
	switch v := target.Interface().(type) {
	case time.Duration:
		outside = v < v1.Duration(low).Std() || v > v1.Duration(high).Std()
	case Size:
		least, errLow := ParseSize(low)
		most, errHigh := ParseSize(high)
		outside = errors.Join(errLow, errHigh) != nil || v < least || v > most
	}
	if outside {
		return fmt.Errorf("must be between %s and %s", low, high)
	}
	return nil
}
