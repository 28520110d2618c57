package main

import (
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
)

// configuration is the settings' part of a command line.
type configuration struct {
	file  string
	flags settings.Flags
}

// addSettings gives a command a flag for every setting, and --config.
func addSettings(c *cobra.Command) *configuration {
	conf := &configuration{flags: settings.Flags{}}
	c.Flags().StringVar(&conf.file, "config", "", "settings file (YAML); GATEHOUSE_CONFIG")
	for _, f := range settings.Fields() {
		usage := f.Doc
		if f.Default != "" {
			usage += " (default " + f.Default + ")"
		}
		flag := c.Flags().VarPF(&settingValue{field: f, into: conf.flags}, f.Flag, "", usage)
		if f.Type == "switch" {
			flag.NoOptDefVal = "true"
		}
	}
	return conf
}

// settingValue puts a flag, unparsed, where settings.Load reads it; a list may
// be given piece by piece.
type settingValue struct {
	field settings.Field
	into  settings.Flags
}

var _ pflag.Value = (*settingValue)(nil)

func (v *settingValue) String() string {
	if v.into == nil {
		return ""
	}
	return v.into[v.field.Flag]
}

func (v *settingValue) Type() string { return v.field.Type }

func (v *settingValue) Set(s string) error {
	before, given := v.into[v.field.Flag]
	if given && v.field.Type == "list" {
		s = before + "," + s
	}
	v.into[v.field.Flag] = s
	return nil
}

// load reads the settings, and says on the log what the operator should know.
func (conf *configuration) load(p process, dev bool) (settings.Settings, *slog.Logger, error) {
	read := settings.Load
	if dev {
		read = settings.LoadDev
	}
	cfg, notices, err := read(conf.flags, p.environ, conf.file)
	if err != nil {
		return settings.Settings{}, nil, err
	}
	log := newLog(p.err, cfg.Log)
	for _, n := range notices {
		log.Warn(n.Message, "setting", n.Setting)
	}
	return cfg, log, nil
}

func newLog(w io.Writer, l settings.Log) *slog.Logger {
	level := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[strings.ToLower(l.Level)]
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
