package control_test

import (
	"errors"
	"net/http"
	"reflect"
	"testing"

	"backscatter/listing"
	"backscatter/ops/control"
)

func TestReporters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	e, err := f.client.Reporter(t.Context(), listing.ActionEnrol, control.ReporterRequest{Order: order, Name: "friend", Organisation: "Friends", Weight: 2})
	if err != nil || e.Organisation != "Friends" || e.Effective != 0.5 {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err = f.client.Reporter(t.Context(), listing.ActionSuspend, control.ReporterRequest{Order: order, Name: "friend"}); err != nil || e.Effective != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	page, err := f.client.Reporters(t.Context())
	if err != nil || len(page.Reporters) != 1 || !reflect.DeepEqual(page.Reporters[0], e) {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, c := range []struct {
		request control.ReporterRequest
		want    control.Error
	}{
		{control.ReporterRequest{Order: order, Name: "nobody"}, control.Error{Code: control.CodeNotFound, Status: http.StatusNotFound}},
		{control.ReporterRequest{Order: order, Name: "friend"}, control.Error{Code: control.CodeConflict, Status: http.StatusConflict}},
		{control.ReporterRequest{Name: "friend"}, control.Error{Code: control.CodeBadRequest, Status: http.StatusBadRequest}},
	} {
		_, err := f.client.Reporter(t.Context(), listing.ActionSuspend, c.request)
		var refused *control.Error
		if !errors.As(err, &refused) || refused.Code != c.want.Code || refused.Status != c.want.Status {
			t.Errorf("suspend %q: %v, want %+v", c.request.Name, err, c.want)
		}
	}
}
