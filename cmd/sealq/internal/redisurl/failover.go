package redisurl

import (
	"time"

	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// clusterReload is how old a client's map of the cluster may be. go-redis draws it anew when a node sends it
	// elsewhere, but not when a node is dead: with its default of a minute a queue would stand still for as long after
	// its master was replaced. It costs one CLUSTER SLOTS each time.
	clusterReload = 2 * time.Second
	// failoverDial bounds one attempt to connect where another server can take over, and failoverDials how many there are
	// before the client asks who that is: go-redis's own 5 times 5 s would hold it at a host that does not answer.
	failoverDial  = 2 * time.Second
	failoverDials = 1
)

// quiet keeps the client from asking for notifications of a managed Redis: CLIENT MAINT_NOTIFICATIONS, like CLIENT SETINFO
// (DisableIdentity), is no command for a user who may do only what is needed, and each refusal stands in ACL LOG.
func quiet() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
