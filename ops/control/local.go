package control

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"backscatter/listing"
	"backscatter/zonefile"
)

// localTransport hands requests to a server in this process and streams its
// answer, as a connection would.
type localTransport struct {
	server *Server
	by     listing.Actor
}

// RoundTrip answers req.
func (t *localTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(withActor(req.Context(), t.by))
	if req.Body == nil {
		req.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &localWriter{pipe: writer, header: http.Header{}, ready: make(chan struct{})}
	go func() { // ends when the handler does; the pipe fails once its reader is closed
		defer func() {
			if p := recover(); p != nil { // http.ErrAbortHandler, all else the server recovers
				w.WriteHeader(http.StatusInternalServerError)
				writer.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		t.server.ServeHTTP(w, req)
		w.WriteHeader(http.StatusOK)
		writer.Close()
	}()
	select {
	case <-w.ready:
	case <-req.Context().Done():
		reader.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: reader, ContentLength: -1, Request: req,
	}, nil
}

type localWriter struct {
	pipe   *io.PipeWriter
	header http.Header
	once   sync.Once
	status int
	ready  chan struct{} // closed when status is set
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		close(w.ready)
	})
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// sameName compares names of zones without case and without the last dot.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

func zoneNames(zones []*zonefile.Zone) string {
	names := make([]string, len(zones))
	for i, z := range zones {
		names[i] = strings.TrimSuffix(z.Name, ".")
	}
	return strings.Join(names, ", ")
}
