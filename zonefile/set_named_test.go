package zonefile_test

import (
	"testing"

	"backscatter/listing"
	"backscatter/zonefile"
)

// Who names no zone means the one that the configuration has first, wherever it
// stands in the alphabet.
func TestNamed(t *testing.T) {
	t.Parallel()
	zone := func(name string) *zonefile.Zone {
		return &zonefile.Zone{Name: name, NS: []string{"ns.example."}, Hostmaster: "h.example.", Classes: listing.AllClasses}
	}
	set, err := zonefile.NewSet(zone("m.example."), zone("a.example."), zone("sub.m.example."))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "m.example.", "m.example": "m.example.", "M.Example.": "m.example.", "a.example": "a.example.", "sub.m.example": "sub.m.example.",
		"x.m.example": "", "example": "", ".": "", "..": "",
	} {
		if z := set.Named(name); (z == nil) != (want == "") || z != nil && z.Name != want {
			t.Errorf("%q: %v, want %q", name, z, want)
		}
	}
	if none, err := zonefile.NewSet(); err != nil || none.Named("") != nil {
		t.Errorf("of no zones: %v, %v", none.Named(""), err)
	}
}
