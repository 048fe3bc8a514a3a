package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// startNSD serves the list as a zone, A and TXT of each address.
func (b *bench) startNSD(ctx context.Context) (*server, error) {
	return b.startPeer(ctx, "nsd", []string{"-d", "-c"}, `server:
  ip-address: 127.0.0.1@%[2]d
  server-count: %[3]d
  username: ""
  chroot: ""
  database: ""
  zonesdir: "%[1]s"
  pidfile: ""
  xfrdfile: "%[1]s/xfrd"
  zonelistfile: "%[1]s/list"
  xfrdir: "%[1]s"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: `+zone+`
  zonefile: "%[4]s"
`)
}

// startKnot serves the same zone.
func (b *bench) startKnot(ctx context.Context) (*server, error) {
	return b.startPeer(ctx, "knotd", []string{"-c"}, `server:
  listen: 127.0.0.1@%[2]d
  rundir: "%[1]s"
  user: root:root
  udp-workers: %[3]d
log:
  - target: stderr
    any: error
database:
  storage: "%[1]s"
template:
  - id: default
    storage: "%[1]s"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
  - domain: `+zone+`
    file: "%[4]s"
`)
}

// startPeer runs a program on a configuration, which is given a folder, a port,
// the number of cores and the zone's file.
func (b *bench) startPeer(ctx context.Context, program string, args []string, config string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, file := b.path(program), b.path(program+".conf")
	text := fmt.Sprintf(config, dir, port, runtime.NumCPU(), b.path("zone"))
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	return start(ctx, port, program, append(args, file)...)
}
