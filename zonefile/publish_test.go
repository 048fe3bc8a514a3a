package zonefile_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// desk is a publisher and what it looks at.
type desk struct {
	*zonefile.Publisher
	dir      string
	zone     atomic.Pointer[zonefile.Zone]
	snapshot atomic.Pointer[listing.Snapshot]
	log      bytes.Buffer
	registry *prometheus.Registry
	options  zonefile.PublisherOptions
}

func newDesk(t *testing.T, s *listing.Snapshot, formats ...zonefile.Format) *desk {
	t.Helper()
	d := &desk{dir: filepath.Join(t.TempDir(), "export"), registry: prometheus.NewPedanticRegistry()}
	d.zone.Store(testZone())
	d.snapshot.Store(s)
	d.options = zonefile.PublisherOptions{
		Dir: d.dir, Zone: d.zone.Load, Formats: formats, Every: time.Minute, Snapshots: d.snapshot.Load,
		Changes: func() iter.Seq2[listing.Change, error] { return journalOf() },
		Logger:  slog.New(slog.NewTextHandler(&d.log, nil)),
		Metrics: zonefile.NewMetrics(d.registry),
	}
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	return d
}

// next publishes another snapshot, as the store does.
func (d *desk) next(n listing.Next) {
	old := d.snapshot.Load()
	n.Sequence, n.NewestEvidence = old.Sequence()+1, old.NewestEvidence()
	d.snapshot.Store(old.Next(n))
	old.Supersede()
}

func (d *desk) files(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, e := range must(os.ReadDir(d.dir))(t) {
		files[e.Name()] = string(must(os.ReadFile(filepath.Join(d.dir, e.Name())))(t))
	}
	return files
}

func (d *desk) mtime(t *testing.T, name string) time.Time {
	t.Helper()
	return must(os.Stat(filepath.Join(d.dir, name)))(t).ModTime()
}

func TestPublish(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Formats...)
	done := must(d.Publish(made))(t)
	if !done.Changed() || len(done.Files) != len(zonefile.Formats)+1 || done.Serial != sequence {
		t.Errorf("%+v", done)
	}
	want := map[string]string{}
	for _, f := range zonefile.Formats {
		want[f.File(testZone())] = string(write(t, f, testZone(), sample()))
	}
	got := d.files(t)
	delete(got, zonefile.ManifestName) // see TestManifest
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	first := d.mtime(t, "bl.example.zone")
	if first != made.Local() {
		t.Errorf("mtime %s, want %s", first, made)
	}
	done = must(d.Publish(made.Add(time.Hour)))(t)
	if done.Changed() || d.mtime(t, "bl.example.zone") != first {
		t.Errorf("unchanged data: %+v, mtime %s", done, d.mtime(t, "bl.example.zone"))
	}

	// Twice within a second, and with a clock that went back: still later.
	for i, now := range []time.Time{made.Add(100 * time.Millisecond), made.Add(-time.Hour)} {
		d.next(listing.Next{Time: made, Added: []listing.Entry{entry("192.0.2."+string(rune('1'+i)), listing.Summary{}, listing.ClassManual)}})
		must(d.Publish(now))(t)
		if got, want := d.mtime(t, "bl.example.ip4set"), made.Add(time.Duration(i+1)*time.Second); !got.Equal(want) {
			t.Errorf("mtime %s, want %s", got, want)
		}
	}
	// The IPv6 file says another serial, so it changed too.
	if got := d.mtime(t, "bl.example.ip6trie"); !got.Equal(made.Add(2 * time.Second)) {
		t.Errorf("mtime of ip6trie %s", got)
	}
}

func TestPublishLeavesTheFormerFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.IP4Set, zonefile.Master)
	must(d.Publish(made))(t)
	want := d.files(t)

	// A name server inside the zone without an address: BIND would refuse it.
	z := testZone()
	z.NS, z.Addresses = []string{"ns1.bl.example"}, nil
	d.zone.Store(z)
	d.next(listing.Next{Time: made, Removed: sampleHosts()})
	_, err := d.Publish(made.Add(time.Minute))
	if err == nil || !strings.HasPrefix(err.Error(), "export bl.example. to "+d.dir+": ") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(want, d.files(t)); diff != "" {
		t.Errorf("the files changed, or something was left behind: %s", diff)
	}

	// A beside-file that a crash left is overwritten.
	if err := os.WriteFile(filepath.Join(d.dir, ".bl.example.ip4set.new"), bytes.Repeat([]byte("x"), 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	d.zone.Store(testZone())
	must(d.Publish(made.Add(time.Minute)))(t)
	got := d.files(t)
	if got["bl.example.ip4set"] == want["bl.example.ip4set"] || len(got) != 3 {
		t.Errorf("not published: %d files", len(got))
	}
	if err := testutil.GatherAndCompare(d.registry, strings.NewReader(`
# HELP backscatter_exports_total Publications of a zone's files that changed at least one of them.
# TYPE backscatter_exports_total counter
backscatter_exports_total{zone="bl.example."} 2
# HELP backscatter_export_errors_total Publications of a zone's files that failed, so that the former files stayed.
# TYPE backscatter_export_errors_total counter
backscatter_export_errors_total{zone="bl.example."} 1
`), "backscatter_exports_total", "backscatter_export_errors_total"); err != nil {
		t.Error(err)
	}
}

func TestPublishNowhere(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Plain)
	if err := os.WriteFile(d.dir, nil, 0o644); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	if _, err := d.Publish(made); err == nil || !strings.Contains(err.Error(), d.dir) {
		t.Errorf("got %v", err)
	}
	lost := must(zonefile.NewPublisher(zonefile.PublisherOptions{
		Dir: filepath.Join(d.dir, "a", "b"), Zone: d.zone.Load, Formats: []zonefile.Format{zonefile.Plain}, Every: time.Second, Snapshots: d.snapshot.Load,
	}))(t)
	if _, err := lost.Publish(made); err == nil {
		t.Error("published into a directory that does not exist")
	}
	if s := lost.State(); s.Serial != 0 || !s.Current.IsZero() || s.Err == nil {
		t.Errorf("says that it is current: %+v", s)
	}
}

// Status is asked for while millions of entries are written.
func TestStateDoesNotWait(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Plain)
	must(d.Publish(made))(t)
	want := zonefile.State{Serial: sequence, Current: made}
	if got := d.State(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	busy, goOn := make(chan struct{}), make(chan struct{})
	slow := must(zonefile.NewPublisher(zonefile.PublisherOptions{
		Dir: d.dir, Formats: []zonefile.Format{zonefile.Plain}, Every: time.Second, Snapshots: d.snapshot.Load,
		Zone: func() *zonefile.Zone { close(busy); <-goOn; return testZone() },
	}))(t)
	done := make(chan error, 1)
	go func() { _, err := slow.Publish(made); done <- err }()
	<-busy
	told := make(chan zonefile.State, 1)
	go func() { told <- slow.State() }()
	select {
	case s := <-told:
		if !s.Current.IsZero() {
			t.Errorf("current before the publication: %+v", s)
		}
	case <-time.After(10 * time.Second):
		t.Error("the state waits for the publication")
	}
	close(goOn)
	if err := <-done; err != nil || slow.State() != want {
		t.Errorf("after it: %v, %+v", err, slow.State())
	}
	// A failure is told beside what the former files are.
	if err := errors.Join(os.RemoveAll(d.dir), os.WriteFile(d.dir, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(made.Add(time.Hour)); err == nil {
		t.Fatal("published into a file")
	}
	if s := d.State(); s.Serial != sequence || s.Current != made || s.Err == nil {
		t.Errorf("after a failure: %+v", s)
	}
}

// A reload changes the zone, then the serial. Who reads both the other way
// round would publish the new serial with the old settings.
func TestPublishReadsTheSerialFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Plain)
	var order []string
	p := must(zonefile.NewPublisher(zonefile.PublisherOptions{
		Dir: d.dir, Formats: []zonefile.Format{zonefile.Plain}, Every: time.Second,
		Zone:      func() *zonefile.Zone { order = append(order, "zone"); return testZone() },
		Snapshots: func() *listing.Snapshot { order = append(order, "snapshot"); return d.snapshot.Load() },
	}))(t)
	must(p.Publish(made))(t)
	if diff := cmp.Diff([]string{"snapshot", "zone"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestNewPublisherRefuses(t *testing.T) {
	t.Parallel()
	_, err := zonefile.NewPublisher(zonefile.PublisherOptions{Formats: []zonefile.Format{"html", zonefile.Plain, zonefile.Plain}})
	for _, want := range []string{"dir:", `format "html"`, "twice", "every 0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to contain %q", err, want)
		}
	}
	if _, err = zonefile.NewPublisher(zonefile.PublisherOptions{}); err == nil || !strings.Contains(err.Error(), "formats: want one") {
		t.Errorf("got %v", err)
	}
}

// TestRun follows the publisher through a day: changes at once and then at
// most once a minute, errors tried again, the stamp renewed.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := sample().Next(listing.Next{Sequence: sequence, Time: start, NewestEvidence: start})
		d := newDesk(t, s, zonefile.IP4Set)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		list := func(addr string) {
			d.next(listing.Next{Time: time.Now(), Added: []listing.Entry{entry(addr, listing.Summary{}, listing.ClassManual)}})
		}
		has := func(addr string) bool {
			synctest.Wait()
			return strings.Contains(d.files(t)["bl.example.ip4set"], "\n"+addr+"\n")
		}
		if !has("192.0.2.66") {
			t.Fatal("not published at the start")
		}
		list("192.0.2.200")
		time.Sleep(59 * time.Second)
		if has("192.0.2.200") {
			t.Error("published again before a minute was over")
		}
		list("192.0.2.201")
		time.Sleep(time.Second)
		if !has("192.0.2.200") || !has("192.0.2.201") {
			t.Error("changes not published after a minute")
		}
		time.Sleep(10*time.Minute + time.Second)
		list("192.0.2.202")
		if !has("192.0.2.202") {
			t.Error("after a rest a change is not published at once")
		}

		synctest.Wait()
		blocked := filepath.Join(d.dir, ".bl.example.ip4set.new")
		if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o755); err != nil { // cannot be written, nor removed
			t.Fatal(err)
		}
		list("192.0.2.203")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := strings.Count(d.log.String(), "export failed, the former files stay"); n != 1 {
			t.Errorf("the error is told %d times:\n%s", n, d.log.String())
		}
		if age := gauge(t, d.registry, "backscatter_export_age_seconds"); age < 240 || age > 360 {
			t.Errorf("age %v s, after five minutes without an export", age)
		}
		if err := os.RemoveAll(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if !has("192.0.2.203") {
			t.Error("not published when the obstacle had gone")
		}

		before := d.mtime(t, "bl.example.ip4set")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if age := gauge(t, d.registry, "backscatter_export_age_seconds"); age > 60 {
			t.Errorf("age %v s of a list that did not change", age)
		}
		if after := d.mtime(t, "bl.example.ip4set"); after.Sub(before) < 23*time.Hour {
			t.Errorf("the stamp was not renewed: mtime %s", after)
		}
		z := testZone()
		z.TTL = time.Hour
		d.zone.Store(z)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.Contains(d.files(t)["bl.example.ip4set"], "$TTL 3600\n") {
			t.Error("new settings not published")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := testutil.CollectAndCount(d.registry, "backscatter_export_age_seconds"); n != 0 {
			t.Error("a publisher that has ended has an age")
		}
	})
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	for _, family := range must(registry.Gather())(t) {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetricsLint(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Plain)
	must(d.Publish(made))(t)
	for _, p := range must(testutil.GatherAndLint(d.registry))(t) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestNoBesideFileIsSeen reads the directory all the while: whatever does not
// begin with a dot is whole at every moment.
func TestNoBesideFileIsSeen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Plain)
	must(d.Publish(made))(t)
	stop := make(chan struct{})
	seen := make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				seen <- nil
				return
			default:
			}
			text, err := os.ReadFile(filepath.Join(d.dir, "bl.example.txt"))
			if err == nil && !bytes.Contains(text[max(0, len(text)-60):], []byte("# END serial=")) {
				err = errors.New("half a file was seen")
			}
			if err != nil {
				<-stop
				seen <- err
				return
			}
		}
	}()
	for range 200 {
		d.next(listing.Next{Time: made})
		must(d.Publish(made))(t)
	}
	close(stop)
	if err := <-seen; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, ".bl.example.txt.new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a beside-file was left: %v", err)
	}
}
