package settings

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Load reads the settings of `gatehouse serve`: flag over environment over file
// over default. The file is configFile, else what GATEHOUSE_CONFIG names, else
// none. Everything that is wrong is reported at once: the error joins one *Error
// a setting, each of one line.
func Load(args Flags, environ []string, configFile string) (Settings, []Notice, error) {
	return load(args, environ, configFile, false)
}

// LoadDev reads the settings of `gatehouse dev`, whose defaults differ and
// which refuses every address that is not loopback.
func LoadDev(args Flags, environ []string, configFile string) (Settings, []Notice, error) {
	return load(args, environ, configFile, true)
}

// loader gathers the layers and what is wrong with them.
type loader struct {
	fields  []Field
	merged  *koanf.Koanf
	origins map[string]string
	notices []Notice
	errs    []error
}

func (l *loader) errorf(setting, message string) {
	l.errs = append(l.errs, &Error{Setting: setting, Message: message})
}

func (l *loader) notice(setting, message string) {
	l.notices = append(l.notices, Notice{Setting: setting, Message: message})
}

// layer puts values over those of the layers before.
func (l *loader) layer(values map[string]any, origins map[string]string) {
	if err := l.merged.Load(confmap.Provider(values, "."), nil); err != nil {
		l.errorf("settings", err.Error())
	}
	for name, form := range origins {
		l.origins[name] = form
	}
}

func load(args Flags, environ []string, configFile string, dev bool) (Settings, []Notice, error) {
	l := &loader{fields: Fields(), merged: koanf.New("."), origins: map[string]string{}}
	env := newEnviron(environ)
	l.layer(defaults(l.fields, dev), nil)
	form := "--config"
	if configFile == "" {
		configFile, form = env.values["GATEHOUSE_CONFIG"], "GATEHOUSE_CONFIG"
	}
	if configFile != "" {
		data, err := readConfigFile(configFile)
		if err != nil {
			l.errorf(form, err.Error())
		}
		l.layer(l.file(configFile, data))
	}
	l.layer(l.environment(env))
	l.layer(l.flags(args))
	s := Settings{ConfigFile: configFile, origins: l.origins}
	l.decode(&s)
	s.Compat = l.compat(env)
	if len(l.errs) == 0 {
		l.together(&s, env, dev)
	}
	if err := errors.Join(l.errs...); err != nil {
		return Settings{}, l.notices, err
	}
	return s, l.notices, nil
}

func defaults(fields []Field, dev bool) map[string]any {
	values := map[string]any{}
	for _, f := range fields {
		v := f.Default
		if dev && f.DevDefault != "" {
			v = f.DevDefault
		}
		if v != "" {
			values[f.Name] = v
		}
	}
	return values
}

// maxFile is far more than every setting needs.
const maxFile = 1 << 20

func readConfigFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New(name + " is not a file")
	case info.Size() > maxFile:
		return nil, errors.New(name + " is larger than 1 MiB")
	}
	return os.ReadFile(name)
}

func (l *loader) flags(args Flags) (values map[string]any, origins map[string]string) {
	values, origins = map[string]any{}, map[string]string{}
	left := map[string]bool{}
	for name := range args {
		left[name] = true
	}
	for _, f := range l.fields {
		v, given := args[f.Flag]
		delete(left, f.Flag)
		if given {
			values[f.Name], origins[f.Name] = listed(f, v), "--"+f.Flag
		}
	}
	var known []string
	for _, f := range l.fields {
		known = append(known, f.Flag)
	}
	for _, name := range sorted(left) {
		l.errorf("--"+name, "is not a setting"+suggest(name, known, "--"))
	}
	return values, origins
}

// listed splits the text of a list as flags and variables have it: by commas.
func listed(f Field, v string) any {
	if f.Type != "list" {
		return v
	}
	if strings.TrimSpace(v) == "" {
		return []string{}
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func (l *loader) decode(s *Settings) {
	root := reflect.ValueOf(s).Elem()
	for _, f := range l.fields {
		raw := l.merged.Get(f.Name)
		if raw == nil {
			continue
		}
		target := root.FieldByIndex(f.index)
		if err := set(target, f, raw); err != nil {
			l.errorf(s.Origin(f.Name), err.Error())
			continue
		}
		if err := checkValue(f, target); err != nil {
			l.errorf(s.Origin(f.Name), err.Error())
		}
	}
}

func sorted(m map[string]bool) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// suggest returns "; did you mean X?" for the known word that is closest to a
// misspelt one, or nothing where none is close.
func suggest(word string, known []string, prefix string) string {
	best, distance := "", 2+len(word)/4
	if len(word) > 100 {
		return ""
	}
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + prefix + best + "?"
}

// editDistance counts insertions, deletions and substitutions (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
