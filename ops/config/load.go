package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"backscatter/listing"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// systemFile is where packages install the configuration.
const systemFile = "/etc/backscatter/backscatter.yaml"

// Load reads the configuration from a file, under the environment of the
// process. Without a path it takes the one in BACKSCATTER_CONFIG, then the
// first that exists of /etc/backscatter/backscatter.yaml and
// backscatter/backscatter.yaml in the XDG configuration folder, and else only
// the defaults. The error, if any, is an [Errors].
func Load(path string) (*Config, error) {
	return load(path, os.Environ(), systemFile)
}

func load(path string, environ []string, system string) (*Config, error) {
	env := newEnvironment(environ)
	path, err := env.find(path, system)
	if err != nil {
		return nil, Errors{{File: path, Text: err.Error()}}
	}
	if path == "" {
		return parse("", nil, env)
	}
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{{File: path, Text: fmt.Sprintf("cannot be read: %s; check --config and BACKSCATTER_CONFIG", err)}}
	}
	return parse(path, data, env)
}

// find returns the path of the file to read, or nothing when there is none.
func (e environment) find(path, system string) (string, error) {
	if path == "" {
		path = e.values[envPrefix+"CONFIG"]
	}
	if path != "" {
		return path, nil
	}
	places := []string{system}
	if dir := e.xdg("XDG_CONFIG_HOME", ".config"); dir != "" {
		places = append(places, filepath.Join(dir, "backscatter", "backscatter.yaml"))
	}
	for _, place := range places {
		_, err := os.Stat(place)
		switch {
		case err == nil:
			return place, nil
		case !errors.Is(err, fs.ErrNotExist):
			return place, fmt.Errorf("cannot be looked at: %w; mend it, or name another file with --config", reason(err))
		}
	}
	return "", nil
}

// readFile reads a file, but no more of it than [parse] needs to see that it
// is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, reason(err)
	}
	return data, nil
}

// reason drops the path from an error that is told beside it.
func reason(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// Parse reads a configuration from YAML under the given environment, a list
// of NAME=value. The name stands for the file in errors and in the result.
func Parse(name string, data []byte, environ []string) (*Config, error) {
	return parse(name, data, newEnvironment(environ))
}

func parse(name string, data []byte, env environment) (*Config, error) {
	file := name
	if file == "" {
		file = "defaults"
	}
	p := newProblems(file)
	t := &tree{problems: p, defaults: itemDefaults()}

	// A fresh instance a load, never used after it: viper is not safe for
	// concurrent use, and must not keep a key that a new file lacks.
	v := viper.New()
	written := t.read(data)
	if err := v.MergeConfigMap(written); err != nil {
		p.add("", "%s", err)
	}
	env.apply(v, p)
	c := decode(v, flatten(reflect.ValueOf(*env.defaults(profileOf(v)))), p)
	c.File = name
	c.written = slices.Sorted(maps.Keys(written))
	c.strangers = env.strangers()
	c.complete(env)
	c.validate(p)
	if err := p.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Has reports whether the file says anything under a key of the highest level, as
// opposed to the defaults and the environment.
func (c *Config) Has(key string) bool { return slices.Contains(c.written, key) }

// decode turns the layers into a configuration. What cannot be read is told,
// and has its default in the result, so that nothing else is judged by it.
func decode(v *viper.Viper, defaults map[string]any, p *problems) *Config {
	for key, value := range defaults {
		v.SetDefault(key, value)
	}
	once := func() (*Config, error) {
		c := &Config{}
		err := v.UnmarshalExact(c, func(dc *mapstructure.DecoderConfig) {
			dc.TagName = "key"
			dc.WeaklyTypedInput = false
			dc.DecodeHook = mapstructure.DecodeHookFuncValue(strict)
		})
		return c, err
	}
	c, err := once()
	bad := decodeErrors(err, p)
	if len(bad) == 0 {
		return c
	}
	for _, key := range bad {
		key, _, _ := strings.Cut(key, "[")
		if f := schema().find(key); f != nil && f.kind == sections {
			continue // its other items are still to be judged
		}
		v.Set(key, defaults[key])
	}
	c, _ = once()
	return c
}

// profileOf returns the policy that the thresholds default to. A profile that
// nobody knows is told by validate; until then any will do.
func profileOf(v *viper.Viper) listing.Policy {
	name, ok := v.Get("policy.profile").(string)
	if !ok || name == "" {
		return listing.Community()
	}
	policy, err := listing.Profile(name)
	if err != nil {
		return listing.Community()
	}
	return policy
}

// complete fills what defaults to another value of the same configuration.
func (c *Config) complete(env environment) {
	for i := range c.Zones {
		z := &c.Zones[i]
		name := strings.TrimSuffix(z.Name, ".")
		z.Hostmaster = cmp.Or(z.Hostmaster, "hostmaster."+name)
		z.URL = cmp.Or(z.URL, "https://"+name+"/")
	}
	c.completeKeys()
	for i := range c.Reporters {
		r := &c.Reporters[i]
		r.Organisation = cmp.Or(r.Organisation, r.Name)
	}
	for i := range c.Guarded {
		g := &c.Guarded[i]
		g.Reporter = cmp.Or(g.Reporter, c.FirstReporter())
	}
	for _, s := range c.Intake.sensors() {
		s.Reporter = cmp.Or(s.Reporter, c.FirstReporter())
	}
	smtp := &c.Intake.SMTP
	smtp.Reporter = cmp.Or(smtp.Reporter, c.FirstReporter())
	smtp.Hostname = cmp.Or(smtp.Hostname, env.hostname)
}

// flatten returns the values of a struct by the path of their keys, those of
// its sections included. A list stays whole.
func flatten(v reflect.Value) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(v.Type(), "") {
		value := v.Field(f.index)
		if f.kind != section {
			out[f.key] = value.Interface()
			continue
		}
		for key, sub := range flatten(value) {
			out[f.key+"."+key] = sub
		}
	}
	return out
}

// nest returns the values of a struct as maps in maps.
func nest(v reflect.Value) map[string]any {
	out := map[string]any{}
	for _, f := range fieldsOf(v.Type(), "") {
		if f.kind == section {
			out[f.key] = nest(v.Field(f.index))
		} else {
			out[f.key] = v.Field(f.index).Interface()
		}
	}
	return out
}

// itemDefaults returns what items of the lists of sections have where they
// say nothing.
func itemDefaults() map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, f := range schema().fields {
		if f.kind == sections {
			out[f.path] = nest(itemDefault(f.typ))
		}
	}
	return out
}

// itemDefault returns a new item of a list of sections.
func itemDefault(t reflect.Type) reflect.Value {
	for _, item := range []any{defaultZone(), Reporter{Weight: 1}, Trap{}, Exempt{}, defaultExport()} {
		if reflect.TypeOf(item) == t {
			return reflect.ValueOf(item)
		}
	}
	return reflect.Zero(t)
}
