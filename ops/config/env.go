package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/viper"
)

// envPrefix begins the name of every variable that is ours.
const envPrefix = "BACKSCATTER_"

// otherVariables are ours too, and name no key; the last is for tests.
var otherVariables = []string{"CONFIG", "PEERS"}

// environment is what a load takes from the process around it.
type environment struct {
	values   map[string]string
	hostname string
}

func newEnvironment(environ []string) environment {
	e := environment{values: map[string]string{}, hostname: "localhost"}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && value != "" {
			e.values[name] = value
		}
	}
	if name, err := os.Hostname(); err == nil && isHostname(name) {
		e.hostname = name
	}
	return e
}

// xdg returns a folder of the XDG base directory specification: what the
// variable says, if it is absolute as it must be, else the usual one below the
// home.
func (e environment) xdg(variable, usual string) string {
	if dir := e.values[variable]; filepath.IsAbs(dir) {
		return dir
	}
	if home := e.values["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, usual)
	}
	return ""
}

// state returns the folder for the state where the configuration names none.
func (e environment) state() string {
	// systemd gives a list when a unit has more than one state folder; the
	// first is the unit's main one.
	if first, _, _ := strings.Cut(e.values["STATE_DIRECTORY"], ":"); first != "" {
		return first
	}
	if dir := e.xdg("XDG_STATE_HOME", filepath.Join(".local", "state")); dir != "" {
		return filepath.Join(dir, "backscatter")
	}
	return ""
}

// apply lays the variables over the file.
func (e environment) apply(v *viper.Viper, p *problems) {
	schema().walk(func(f *field) {
		name := f.envName()
		text, ok := e.values[name]
		if name == "" || !ok {
			return
		}
		p.origins[f.path] = origin{file: "$" + name}
		value, err := f.fromEnv(text)
		if err != nil {
			p.add(f.path, "%s", err)
			return
		}
		v.Set(f.path, value)
	})
}

// fromEnv reads the text of a variable as the file's parser would have.
func (f *field) fromEnv(text string) (any, error) {
	if f.kind == scalars {
		items := []any{}
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items, nil
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("want true or false, found %s", quote(text))
		}
		return b, nil
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("want a number, found %s", quote(text))
		}
		return n, nil
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("want a whole number, found %s", quote(text))
		}
		return n, nil
	default:
		return text, nil
	}
}

// strangers returns the variables that look like ours and name nothing of
// ours: most likely a slip, so they are warned of. They are not refused, since
// container platforms add variables named after a service.
func (e environment) strangers() []string {
	known := map[string]bool{}
	for _, name := range otherVariables {
		known[envPrefix+name] = true
	}
	schema().walk(func(f *field) { known[f.envName()] = true })
	var out []string
	for name := range e.values {
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
