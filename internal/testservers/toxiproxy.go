package testservers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// toxiproxyModule is the nested module that has toxiproxy as its tool, as seen from the root.
const toxiproxyModule = "tools/toxiproxy"

// Toxiproxy is Shopify's toxiproxy for one test, in a process of its own. Its methods are for the test's goroutine.
type Toxiproxy struct{ api string }

// Toxic is something that happens to a proxy's connections, those that are open and those to come
// (https://github.com/Shopify/toxiproxy#toxics has the types and their attributes).
type Toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`             // "downstream", from the server, or "upstream"
	Toxicity   float64        `json:"toxicity,omitempty"` // of how many connections; zero: all
	Attributes map[string]int `json:"attributes"`         // times in ms, sizes in bytes, rates in KB/s
}

// NewToxiproxy builds toxiproxy and starts it. What happens by chance follows from seed.
func NewToxiproxy(t testing.TB, seed uint64) *Toxiproxy {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "toxiproxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/Shopify/toxiproxy/v2/cmd/server")
	build.Dir = filepath.Join(moduleRoot(t), toxiproxyModule)
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build toxiproxy in %s: %v\n%s", build.Dir, err, said)
	}
	x, err := instance.StartToxiproxy(t.Context(), binary, seed)
	must(t, err)
	cleanup(t, func(context.Context) error { return x.Close() })
	return &Toxiproxy{api: x.API()}
}

// moduleRoot is the nearest folder upwards that has a go.mod.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the folder of this test")
		}
		dir = filepath.Dir(dir)
	}
}

// Proxy makes a proxy to HOST:PORT, and returns the address at which it listens.
func (x *Toxiproxy) Proxy(t testing.TB, name, upstream string) string {
	t.Helper()
	var made struct {
		Listen string `json:"listen"`
	}
	x.call(t, http.MethodPost, "/proxies", map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true}, &made)
	return made.Listen
}

// Add begins with a toxic.
func (x *Toxiproxy) Add(t testing.TB, proxy string, toxic Toxic) {
	t.Helper()
	if toxic.Toxicity == 0 {
		toxic.Toxicity = 1
	}
	x.call(t, http.MethodPost, "/proxies/"+proxy+"/toxics", toxic, nil)
}

// Remove ends it. Connections that something was kept from are closed.
func (x *Toxiproxy) Remove(t testing.TB, proxy, toxic string) {
	t.Helper()
	x.call(t, http.MethodDelete, "/proxies/"+proxy+"/toxics/"+toxic, nil, nil)
}

func (x *Toxiproxy) call(t testing.TB, method, path string, ask, answer any) {
	t.Helper()
	var body bytes.Buffer
	if ask != nil {
		must(t, json.NewEncoder(&body).Encode(ask))
	}
	request, err := http.NewRequestWithContext(t.Context(), method, x.api+path, &body)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	said, err := io.ReadAll(response.Body)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode/100 != 2 {
		t.Fatal(fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, response.Status, said))
	}
	if answer != nil {
		must(t, json.Unmarshal(said, answer))
	}
}
