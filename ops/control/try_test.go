package control_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/control"
)

func TestTry(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(t, 25_000)
	friend := listing.Exemption{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Reason: "a friend"}
	fates := map[listing.Fate]uint64{}
	sum, err := f.client.Try(t.Context(), control.TryRequest{BuiltIn: []listing.Exemption{friend}}, func(one listing.Trial) error {
		fates[one.Fate]++
		if one.Fate == listing.Goes && one.Why != "exempt with 10.0.0.0/24: a friend" {
			t.Errorf("%s goes: %s", one.Key, one.Why)
		}
		return nil
	}, func(p control.Progress) {
		if p.Done > p.Total {
			t.Errorf("%+v", p)
		}
	})
	if err != nil || sum.Go != 256 || sum.Stay != 25_000-256 || sum.Come != 0 {
		t.Fatalf("%+v: %v", sum, err)
	}
	if fates[listing.Goes] != sum.Go || fates[listing.Stays] != sum.Stay {
		t.Errorf("told: %v", fates)
	}
	if f.store.Snapshot().Len() != 25_000 {
		t.Error("the list has changed")
	}
	stop := errors.New("enough")
	if _, err := f.client.Try(t.Context(), control.TryRequest{}, func(listing.Trial) error { return stop }, nil); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

func TestTryRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bad := listing.Solo()
	bad.Score = 0
	var refused *control.Error
	_, err := f.client.Try(t.Context(), control.TryRequest{Policy: &bad}, nil, nil)
	if !errors.As(err, &refused) || refused.Code != control.CodeBadRequest || !strings.Contains(refused.Message, "policy score 0") {
		t.Errorf("bad policy: %v", err)
	}
	for _, body := range []string{"", "{", `{"policie":{}}`, `{} {}`} {
		if status, text := f.raw(t, "POST", "/v1/policy/try", "application/json", strings.NewReader(body)); status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", body, status, text)
		}
	}
}

func TestShowAt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fill(t, 1)
	now := time.Now()
	x, err := f.client.ShowAt(t.Context(), "10.0.0.0", now, true)
	if err != nil || !x.Listed || x.At.Unix() != now.Unix() {
		t.Errorf("now: %+v, %v", x, err)
	}
	if x, err = f.client.ShowAt(t.Context(), "10.0.0.0/32", now.Add(-time.Hour), true); err != nil || x.Listed || len(x.Unsure) == 0 {
		t.Errorf("an hour ago: %+v, %v", x, err)
	}
	var refused *control.Error
	if _, err = f.client.ShowAt(t.Context(), "10.0.0.0", now.Add(time.Hour), true); !errors.As(err, &refused) || refused.Code != control.CodeBadRequest {
		t.Errorf("in an hour: %v", err)
	}
	if status, text := f.raw(t, "GET", "/v1/show?key=10.0.0.0&at=noon", "", nil); status != http.StatusBadRequest {
		t.Errorf("at noon: %d %s", status, text)
	}
}
