package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"backscatter/dnsd"
	"backscatter/ops/config"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	env := []string{"HOME=/home/op"}
	parse := func(text string) *config.Config {
		t.Helper()
		c, err := config.Parse("bl.yaml", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	off := parse("")
	if l, err := off.OpenQueryLog(); l != nil || err != nil || off.Tap("1") != nil {
		t.Errorf("by default: %v, %v, %v", l, err, off.Tap("1"))
	}
	own, err := parse("dns: {query_log: {to: log}}").OpenQueryLog()
	if diff := cmp.Diff(&dnsd.QueryLog{Sample: 1000, Rate: 100}, own); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	path := filepath.Join(t.TempDir(), "questions.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	l, err := parse("dns: {query_log: {to: " + path + ", sample: 7, rate: 5, clients: address}}").OpenQueryLog()
	if err != nil || l.Sample != 7 || l.Rate != 5 || !l.Whole {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := l.To.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	if err := l.To.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "before\nafter\n" {
		t.Errorf("%q, %v: want what was there, and more", got, err)
	}
	if _, err := parse("dns: {query_log: {to: " + filepath.Join(path, "no", "folder") + "}}").OpenQueryLog(); err == nil || !strings.Contains(err.Error(), "open the log of questions") {
		t.Errorf("no folder: %v", err)
	}
	tap := parse("dns: {nsid: ns1, dnstap: {socket: /run/tap.sock, sample: 3}}").Tap("1.0")
	if diff := cmp.Diff(&dnsd.Tap{Socket: "/run/tap.sock", Sample: 3, Identity: "ns1", Version: "backscatter 1.0"}, tap); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSamplesBad(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("bl.yaml", []byte("dns: {query_log: {to: questions, sample: 0, rate: 0, clients: some}, dnstap: {socket: /"+strings.Repeat("x", 120)+", sample: -1}}"), nil)
	for _, want := range []string{
		"dns.query_log.to", "dns.query_log.sample", "dns.query_log.rate", "dns.query_log.clients", "dns.dnstap.socket", "dns.dnstap.sample",
	} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("%s is not blamed in %v", want, err)
		}
	}
}
