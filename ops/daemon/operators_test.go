package daemon_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const tree = "../.."

// A package has every page for operators: they lead to each other.
func TestPackageHasAllPages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(tree, "ops/packaging/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct {
		Contents []struct{ Src, Dst string }
	}
	if err := yaml.Unmarshal(text, &pkg); err != nil {
		t.Fatal(err)
	}
	shipped := map[string]string{}
	for _, c := range pkg.Contents {
		shipped[c.Src] = c.Dst
		if _, err := os.Stat(filepath.Join(tree, c.Src)); err != nil && !strings.HasPrefix(c.Src, "dist/") {
			t.Error(err)
		}
	}
	pages, err := filepath.Glob(filepath.Join(tree, "ops/docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		if want := "/usr/share/doc/backscatter/" + filepath.Base(page); shipped["ops/docs/"+filepath.Base(page)] != want {
			t.Errorf("%s is not shipped as %s", page, want)
		}
	}
}

// Alerts ask for metrics that there are, and all that waits for an operator has one.
func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(tree, "ops/prometheus/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	metric := regexp.MustCompile(`\bbackscatter_[a-z0-9_]+`)
	asked := map[string]bool{}
	alerts := map[string]bool{}
	for _, rule := range file.Groups[0].Rules {
		if alerts[rule.Alert] || rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%q is there twice, or says too little", rule.Alert)
		}
		alerts[rule.Alert] = true
		for _, name := range metric.FindAllString(rule.Expr, -1) {
			asked[name] = true
		}
	}
	there := metricNames(t)
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if !there[name] {
			t.Errorf("no metric is called %s", name)
		}
	}
	for _, name := range []string{"backscatter_export_held", "backscatter_mirror_refused", "backscatter_mirror_expires_timestamp_seconds", "backscatter_brake"} {
		if !asked[name] {
			t.Errorf("nobody is told of %s", name)
		}
	}
}

// metricNames returns the names that the program gives to metrics, among others.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	literal := regexp.MustCompile(`"(backscatter_)?([a-z0-9_]+)"`) // some name the prefix apart
	names := map[string]bool{}
	for _, room := range []string{"dnsd", "evidence", "listing", "ops", "zonefile"} {
		err := filepath.WalkDir(filepath.Join(tree, room), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllStringSubmatch(string(text), -1) {
				names["backscatter_"+m[2]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
