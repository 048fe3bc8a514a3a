package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"backscatter/listing"
	"backscatter/ops/control"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print what the daemon is doing",
		Long:    "Print what the daemon is doing: whether it is ready and if not, why; what it serves, since when, and how the store and the exports are.",
		Example: "  backscatter status",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(s)
				}
				var b strings.Builder
				printStatus(&b, s)
				_, err = io.WriteString(a.out, b.String())
				return err
			})
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func printStatus(b *strings.Builder, s control.Status) {
	state := "ready"
	switch {
	case !s.Running:
		state = "no daemon is running; this is what the store holds"
	case !s.Ready:
		state = "not ready: " + strings.Join(s.NotReady, "; ")
	}
	fmt.Fprintf(b, "backscatter   %s, %s\n", s.Version, state)
	if s.Running {
		fmt.Fprintf(b, "started       %s\n", stamp(s.Started))
	}
	for _, l := range s.Listen {
		fmt.Fprintf(b, "%-13s %s/%s\n", l.Service, l.Network, l.Address)
	}
	if s.Mirror != nil {
		printMirror(b, s.Mirror)
		return
	}
	st := s.Store
	fmt.Fprintf(b, "list          %d published%s, serial %d of %s\n", st.Listings, byClass(st.Classes), st.Serial, stamp(st.Published))
	fmt.Fprintf(b, "evidence      %d observations, newest %s, profile %s\n", st.Observations, stamp(st.NewestEvidence), st.Profile)
	fmt.Fprintf(b, "store         %s, %d bytes, %d exemptions, %d audit entries\n", st.Path, st.FileSize, st.Exemptions, st.Audit)
	if st.Headers > 0 {
		fmt.Fprintf(b, "headers       %d kept, %d bytes\n", st.Headers, st.HeaderBytes)
	}
	if !st.Writable {
		fmt.Fprintf(b, "              cannot be written: %s\n", st.WhyNot)
	}
	printStanding(b, st)
	for _, e := range s.Exports {
		fmt.Fprintf(b, "export        %s to %s, serial %d of %s\n", e.Zone, e.Dir, e.Serial, stamp(e.Published))
		if e.Error != "" {
			fmt.Fprintf(b, "              failed: %s\n", e.Error)
		}
	}
	printSecondaries(b, s.Secondaries)
	for _, w := range s.Warnings {
		fmt.Fprintf(b, "warning       %s\n", w)
	}
}

func printMirror(b *strings.Builder, m *control.Mirror) {
	fmt.Fprintf(b, "mirror of     %s\n", m.From)
	if m.Zone != "" {
		fmt.Fprintf(b, "list          %s, %d entries, serial %d of %s, expires %s\n", m.Zone, m.Entries, m.Serial, stamp(m.Created), stamp(m.Expires))
		fmt.Fprintf(b, "in force      since %s, current at %s\n", stamp(m.Since), stamp(m.Checked))
	}
	if m.Error != "" {
		fmt.Fprintf(b, "refused       %s\n", printable(m.Error))
	}
}

func printSecondaries(b *strings.Builder, all []control.Secondary) {
	for _, s := range all {
		heard := "has heard nothing"
		if !s.Heard.IsZero() {
			heard = fmt.Sprintf("acknowledged %d at %s", s.Acknowledged, stamp(s.Heard))
		}
		fmt.Fprintf(b, "secondary     %s of %s, told %d, %s\n", s.Address, s.Zone, s.Serial, heard)
		if s.Error != "" {
			fmt.Fprintf(b, "              failed: %s\n", s.Error)
		}
	}
}

func byClass(classes map[string]int) string {
	var parts []string
	for class, n := range classes {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", class, n))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return " (" + strings.Join(parts, ", ") + ")"
}

// maxAuditPrefixes is how many addresses of one entry are printed for people.
const maxAuditPrefixes = 3

func (a *app) printAuditEntry(e listing.AuditEntry) error {
	if a.asJSON {
		return a.printJSONLine(e)
	}
	who := e.By.Name
	if e.By.Via != "" {
		who += " by " + e.By.Via
	}
	var about []string
	for _, p := range e.Prefixes[:min(len(e.Prefixes), maxAuditPrefixes)] {
		about = append(about, p.String())
	}
	if more := e.Count - len(about); more > 0 {
		about = append(about, fmt.Sprintf("and %d more", more))
	}
	var detail struct {
		Reporter string `json:"reporter"`
	}
	if err := json.Unmarshal(e.Detail, &detail); err == nil && detail.Reporter != "" {
		about = append(about, "reporter "+detail.Reporter)
	}
	_, err := fmt.Fprintf(a.out, "%d  %s  %s  %s  %s: %s\n",
		e.Number, stamp(e.Time), printable(who), e.Action, strings.Join(about, " "), printable(e.Reason))
	return err
}
