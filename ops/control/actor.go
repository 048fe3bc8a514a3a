package control

import (
	"context"
	"net"
	"os"
	"os/user"
	"strconv"

	"backscatter/listing"
)

type actorKey struct{}

func withActor(ctx context.Context, a listing.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

func actorOf(ctx context.Context) listing.Actor {
	if a, ok := ctx.Value(actorKey{}).(listing.Actor); ok {
		return a
	}
	return listing.Actor{UID: -1, Name: "unknown", Via: "control"}
}

// peerActor is the user at the other end of the socket, as the kernel tells it.
func peerActor(c net.Conn) listing.Actor {
	uid := -1
	if unixConn, ok := c.(*net.UnixConn); ok {
		uid = peerUID(unixConn)
	}
	return listing.Actor{UID: uid, Name: userName(uid), Via: "control socket"}
}

// LocalActor is the user that runs this process.
func LocalActor(via string) listing.Actor {
	uid := os.Getuid()
	return listing.Actor{UID: uid, Name: userName(uid), Via: via}
}

func userName(uid int) string {
	if uid < 0 {
		return "unknown"
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}
