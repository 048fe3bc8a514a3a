package config

import (
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"backscatter/listing"

	"go.yaml.in/yaml/v3"
)

// Field describes one key of the configuration.
type Field struct {
	Path    string // like zones[].ttl
	Type    string // like duration
	Default string // as YAML, or in words; empty for a section
	Env     string // variable that overrides the key; empty when there is none
	Restart bool   // whether a change needs a restart of the server
	Doc     string
}

// Reference returns every key of the configuration, in the order of the file.
func Reference() []Field {
	defaults := newEnvironment(nil).defaults(listing.Community())
	var out []Field
	var add func(f *field, v reflect.Value)
	add = func(f *field, v reflect.Value) {
		for _, sub := range f.fields {
			value := v.Field(sub.index)
			out = append(out, Field{
				Path: sub.path, Type: sub.typeName(), Default: sub.defaultText(value),
				Env: sub.envName(), Restart: sub.restart, Doc: sub.doc,
			})
			switch sub.kind {
			case section:
				add(sub, value)
			case sections:
				add(sub, itemDefault(sub.typ))
			}
		}
	}
	add(schema(), reflect.ValueOf(*defaults))
	return out
}

// defaultText writes the default of a key.
func (f *field) defaultText(v reflect.Value) string {
	switch {
	case f.need:
		return "must be set"
	case f.fallback != "":
		return f.fallback
	case f.kind == section:
		return ""
	}
	var b strings.Builder
	if err := encode(&b, flow(printer{}.value(f, v))); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// WriteReference writes the reference as a table in Markdown.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, f := range Reference() {
		fallback := f.Default
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		doc := f.Doc
		if f.Restart {
			doc += " *A change needs a restart.*"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Path, f.Type, cell(fallback), cell(doc))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// comment is what the example says about a key.
func (f *field) comment() string {
	text := f.doc
	if f.fallback != "" {
		text += " Default: " + f.fallback + "."
	}
	if f.restart {
		text += " A change needs a restart."
	}
	return text
}

// WriteExample writes a complete configuration with a comment for each key. It
// is the defaults, with an item in each list so that their keys are seen.
func WriteExample(w io.Writer) error {
	c := newEnvironment(nil).defaults(listing.Community())
	c.State = "/var/lib/backscatter"
	c.Zones[0].Hostmaster = "hostmaster.bl.example"
	c.Zones[0].URL = "https://bl.example/"
	c.Intake.LMTP = []Sensor{{Listen: "unix:/run/backscatter/lmtp", Reporter: "local"}}
	c.Intake.Milter = []Sensor{{Listen: "127.0.0.1:7357", Reporter: "local"}}
	c.Intake.SMTP.Reporter = "local"
	c.Intake.SMTP.Hostname = "trap.example"
	c.exampleSecondary()
	c.Traps = []Trap{
		{Domain: "trap.example", Senders: []string{"postmaster@trap.example"}},
		{Address: "left-in-2009@example.org"},
	}
	c.Guarded = []Guarded{{
		Reporter: "local", Domains: []string{"real.example"}, Relays: true,
		BATVKeys: "/etc/backscatter/batv.keys", SRSKeys: "/etc/backscatter/srs.keys", SentLog: "/var/log/mail.sent",
		MessageIDDomains: []string{"real.example"}, MessageIDKeys: "/etc/backscatter/message-id.keys",
	}}
	c.Exempt = []Exempt{{Prefix: netip.MustParsePrefix("192.0.2.25/32"), Reason: "our own mail server"}}
	export := defaultExport()
	export.Zone, export.Dir, export.Every = "bl.example", "/var/lib/backscatter/export", time.Minute
	export.Key, export.PassphraseFile = "/etc/backscatter/export.key", "/etc/backscatter/export.passphrase"
	c.Exports = []Export{export}
	return writeCommented(w, c)
}

func writeCommented(w io.Writer, c *Config) error {
	var b strings.Builder
	b.WriteString("# Configuration of backscatter. Every key may be left out; what stands here is\n" +
		"# the default, except for the items of the lists, which are examples.\n" +
		"# Durations need a unit: 90s, 10m, 24h, 7d. Check with: backscatter config check\n")
	all := printer{told: map[string]bool{}}.section(schema(), reflect.ValueOf(*c))
	for i := 0; i < len(all.Content); i += 2 {
		b.WriteByte('\n')
		if err := encode(&b, &yaml.Node{Kind: yaml.MappingNode, Content: all.Content[i : i+2]}); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
