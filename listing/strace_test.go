package listing_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// straceTool returns the tool, where it may trace.
func straceTool(t *testing.T) string {
	t.Helper()
	lacking := t.Skipf
	if os.Getenv("BACKSCATTER_PEERS") == "require" {
		lacking = t.Fatalf
	}
	tool, err := exec.LookPath("strace")
	if err != nil {
		lacking("strace is not installed (Debian package strace)")
	}
	if out, err := exec.CommandContext(t.Context(), tool, "-o", os.DevNull, "/proc/self/exe", "--version").CombinedOutput(); err != nil {
		lacking("strace may not trace here: %s", out)
	}
	return tool
}

// ended is how a child of strace ended.
type ended struct {
	log   string // of strace
	whole bool   // by itself
}

// strace runs a child of the victim under strace with more arguments. The error
// tells what the child itself found wrong.
func (v *victim) strace(ctx context.Context, args ...string) (ended, error) {
	self, err := os.Executable()
	if err != nil {
		return ended{}, err
	}
	out := ended{log: filepath.Join(v.dir, "strace.log")}
	args = append([]string{"-f", "-qq", "-o", out.log}, args...)
	args = append(args, "--", self, "-test.run=^TestTortureChild$", "-test.timeout=10m")
	cmd := exec.CommandContext(ctx, v.tool, args...)
	cmd.Env = append(cmd.Environ(), tortureStore+"="+v.store, tortureAcks+"="+v.acks, tortureWork+"="+string(v.work), "GORACE=atexit_sleep_ms=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	out.whole = cmd.Run() == nil
	if text := said.String(); strings.Contains(text, "--- FAIL") || strings.Contains(text, "panic:") {
		return out, fmt.Errorf("strace %v: the child says:\n%s", args, text)
	}
	return out, ctx.Err()
}

// A call is what a child did to its disk, or that it said what was acknowledged.
type call struct {
	name   string // pwrite64, ftruncate, sync, rename, ack
	file   string // one of those below; not of an ack
	offset int64  // or the new size
	data   []byte
}

const (
	fileStore  = "store"  // until a compaction has given its name to the copy, and after
	fileCopy   = "copy"   // likewise
	fileFolder = "folder" // that both are in
)

var (
	callBegun   = regexp.MustCompile(`^(\d+) +(pwrite64|write|ftruncate|fdatasync|fsync)\(\d+<([^>]*)>(\(deleted\))?(?:, (.*)|\).*| <unfinished.*)$`)
	callResumed = regexp.MustCompile(`^(\d+) +<\.\.\. (?:fdatasync|fsync) resumed>\) += 0`)
	callRename  = regexp.MustCompile(`^\d+ +renameat\(`)
	writeRest   = regexp.MustCompile(`^"([^"]*)", \d+(?:, (\d+))?`)
	sizeRest    = regexp.MustCompile(`^(\d+)`)
)

// readCalls reads a log of strace -y -xx. A write and a rename count from when they
// were begun, a sync from when it was over.
func (v *victim) readCalls(t *testing.T, log string) (out []call) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	syncing := map[string]string{} // file, by thread
	renamed := false
	for lines.Scan() {
		line := lines.Text()
		if m := callResumed.FindStringSubmatch(line); m != nil {
			out = append(out, call{name: "sync", file: syncing[m[1]]})
			continue
		}
		if callRename.MatchString(line) {
			renamed = true
			out = append(out, call{name: "rename"})
			continue
		}
		m := callBegun.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		one := call{name: m[2], file: v.fileOf(t, string(unhex(t, m[3])), m[4] != "", renamed)}
		switch rest := m[5]; one.name {
		case "fdatasync", "fsync":
			one.name = "sync"
			if syncing[m[1]] = one.file; !strings.HasSuffix(line, "= 0") {
				continue
			}
		case "ftruncate":
			one.offset = number(t, sizeRest.FindStringSubmatch(rest)[1])
		default:
			w := writeRest.FindStringSubmatch(rest)
			if w == nil {
				t.Fatalf("strace logged %.200s", line)
			}
			if one.data = unhex(t, w[1]); one.name == "write" {
				one.name = "ack"
			} else {
				one.offset = number(t, w[2])
			}
		}
		out = append(out, one)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// fileOf tells which file has a path, as it is called at that moment.
func (v *victim) fileOf(t *testing.T, path string, deleted, renamed bool) string {
	t.Helper()
	switch {
	case path == v.store+".compacting":
		return fileCopy
	case path == v.store && renamed && !deleted:
		return fileCopy
	case path == v.store:
		return fileStore
	case path == v.dir:
		return fileFolder
	case path == v.acks:
		return ""
	}
	t.Fatalf("strace tells of %q", path)
	return ""
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func count(calls []call, name string) (n int) {
	for _, c := range calls {
		if c.name == name {
			n++
		}
	}
	return n
}

func (c call) String() string { return fmt.Sprintf("%s of %d at %d", c.name, len(c.data), c.offset) }
