package web

import (
	"bytes"
	_ "embed" // for the template
	"html/template"
	"net/http"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

// view is what a page shows. Found is nil without a question and when there is
// an Error.
type view struct {
	Asked   string
	Error   string
	Found   *listing.Explanation
	Policy  []string
	Contact string
}

//go:embed page.html
var pageText string

// pageTemplate escapes everything by its context: traces come from strangers.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"stamp": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"fixes": evidence.Fixes,
}).Parse(pageText))

func (s *Server) page(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		s.Logger.Error("page not made", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // the client has gone; nobody is there to tell
}
