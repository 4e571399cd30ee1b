package signing_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// vault is a database's table in memory.
type vault struct {
	mu      sync.Mutex
	version uint64
	wrapped []byte
	err     error  // of every call
	saves   int    // that succeeded
	before  func() // called once, before the next save: somebody else is quicker
}

func (v *vault) LoadWrappedRing(context.Context) (uint64, []byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil && v.version == 0 {
		return 0, nil, signing.ErrNoRing
	}
	return v.version, bytes.Clone(v.wrapped), v.err
}

func (v *vault) SaveWrappedRing(_ context.Context, version uint64, wrapped []byte) error {
	if meanwhile := v.before; meanwhile != nil {
		v.before = nil
		meanwhile()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	if v.version+1 != version {
		return signing.ErrRingMoved
	}
	v.version, v.wrapped = version, bytes.Clone(wrapped)
	v.saves++
	return nil
}

func database(t *testing.T, v signing.Vault, kek signing.Secret) *signing.Database {
	t.Helper()
	d, err := signing.NewDatabase(v, kek)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// firstRing is version 1 of a ring.
func firstRing(t *testing.T) *signing.Ring {
	t.Helper()
	r, err := signing.NewRing(t0, time.Hour)
	return moved(t, r, err)
}

func TestADatabaseGivesBackWhatWasSaved(t *testing.T) {
	t.Parallel()
	v, kek, first := &vault{}, signing.NewSecret(), firstRing(t)
	d := database(t, v, kek)
	if _, err := d.Load(t.Context()); !errors.Is(err, signing.ErrNoRing) || !strings.Contains(err.Error(), "sealq keys init") {
		t.Errorf("load where none is: want ErrNoRing and what to do, got %v", err)
	}
	if err := d.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	next, err := d.Update(t.Context(), rotate)
	if err != nil {
		t.Fatal(err)
	}
	// Another process has nothing but the file and the database.
	got, err := database(t, v, kek).Load(t.Context())
	if err != nil || !got.Equal(next) || got.Version() != 2 {
		t.Errorf("load: want %v with its secrets, got %v, %v", next, got, err)
	}
	if fmt.Sprint(d) != "database" {
		t.Errorf("it names itself %v", d)
	}
}

func TestWhatIsSavedHoldsNoSecretAndNoKIDInClear(t *testing.T) {
	t.Parallel()
	v := &vault{}
	if err := database(t, v, signing.NewSecret()).Create(t.Context(), parse(t, ringFields(keyFields(kidA, "active", secretA)).with("version", 1))); err != nil {
		t.Fatal(err)
	}
	for _, clear := range []string{secretA, secretA[7:20], kidA, "keys", "sealq1_"} {
		if bytes.Contains(v.wrapped, []byte(clear)) {
			t.Errorf("what is saved contains %q", clear)
		}
	}
}

func TestTwoSavesOfOneRingLookDifferent(t *testing.T) {
	t.Parallel()
	one, two, kek, first := &vault{}, &vault{}, signing.NewSecret(), firstRing(t)
	for _, v := range []*vault{one, two} {
		if err := database(t, v, kek).Create(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(one.wrapped, two.wrapped) || bytes.Equal(one.wrapped[:12], two.wrapped[:12]) {
		t.Error("a nonce came twice")
	}
}

func TestAnAlteredOrMovedWrappedRingDoesNotOpen(t *testing.T) {
	t.Parallel()
	kek := signing.NewSecret()
	saved := func(t *testing.T) *vault {
		t.Helper()
		v := &vault{}
		if err := database(t, v, kek).Create(t.Context(), firstRing(t)); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, spoil := range map[string]func(v *vault){
		"the first byte of the nonce": func(v *vault) { v.wrapped[0] ^= 1 },
		"the first byte of the text":  func(v *vault) { v.wrapped[12] ^= 1 },
		"the last byte of the tag":    func(v *vault) { v.wrapped[len(v.wrapped)-1] ^= 1 },
		"a byte less":                 func(v *vault) { v.wrapped = v.wrapped[:len(v.wrapped)-1] },
		"a byte more":                 func(v *vault) { v.wrapped = append(v.wrapped, 0) },
		"nothing at all":              func(v *vault) { v.wrapped = nil },
		"under another version":       func(v *vault) { v.version = 2 },
		"its own JSON in clear":       func(v *vault) { v.wrapped = []byte(`{"version":1}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := saved(t)
			spoil(v)
			if _, err := database(t, v, kek).Load(t.Context()); !errors.Is(err, signing.ErrWrongKEK) {
				t.Errorf("want ErrWrongKEK, got %v", err)
			}
		})
	}
	t.Run("under another key-encryption key", func(t *testing.T) {
		t.Parallel()
		if _, err := database(t, saved(t), signing.NewSecret()).Load(t.Context()); !errors.Is(err, signing.ErrWrongKEK) {
			t.Errorf("want ErrWrongKEK, got %v", err)
		}
	})
	t.Run("and nothing was wrong with it before", func(t *testing.T) {
		t.Parallel()
		if _, err := database(t, saved(t), kek).Load(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The whole document is one ciphertext, so that nobody can take a key out of an older one. A whole older one opens: that is why
// whoever has seen a newer version refuses it.
func TestAWholeOlderRingIsRefusedByWhoHasSeenTheNewerOne(t *testing.T) {
	t.Parallel()
	v, kek := &vault{}, signing.NewSecret()
	d := database(t, v, kek)
	if err := d.Create(t.Context(), firstRing(t)); err != nil {
		t.Fatal(err)
	}
	older := bytes.Clone(v.wrapped)
	if _, err := d.Update(t.Context(), rotate); err != nil {
		t.Fatal(err)
	}
	k := openWith(t, d, "test", signing.Options{Now: newClock(t0).Now})
	v.version, v.wrapped = 1, older
	if err := k.Reload(t.Context()); !errors.Is(err, signing.ErrOlderRing) || k.Version() != 2 {
		t.Errorf("reload: want ErrOlderRing and version 2 in use, got %v and %d", err, k.Version())
	}
	if _, err := signing.OpenWith(t.Context(), d, "test", signing.Options{MinVersion: 2}); !errors.Is(err, signing.ErrOlderRing) {
		t.Errorf("start: want ErrOlderRing, got %v", err)
	}
}

func TestTheWrappingIsAESGCMWithItsVersionAsContext(t *testing.T) {
	t.Parallel()
	v := &vault{}
	r := parse(t, ringFields(keyFields(kidA, "active", secretA)).with("version", 1))
	kek, err := signing.ParseSecret(secretB)
	if err != nil {
		t.Fatal(err)
	}
	if err := database(t, v, kek).Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got, err := unwrap(secretB, v.version, v.wrapped)
	if err != nil || string(got) != string(r.Marshal()) {
		t.Errorf("opened by the description alone: %v\n%s", err, got)
	}
	if _, err := unwrap(secretB, v.version+1, v.wrapped); err == nil {
		t.Error("it opens under another version too")
	}
	if n := binary.Size(v.wrapped) - len(r.Marshal()); n != 12+16 {
		t.Errorf("want 12 bytes of nonce and 16 of tag around it, got %d", n)
	}
}

func TestCreateLeavesARingAlone(t *testing.T) {
	t.Parallel()
	v, kek := &vault{}, signing.NewSecret()
	d := database(t, v, kek)
	first := firstRing(t)
	if err := d.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), firstRing(t)); !errors.Is(err, signing.ErrRingExists) {
		t.Errorf("want ErrRingExists, got %v", err)
	}
	if got, err := d.Load(t.Context()); err != nil || !got.Equal(first) {
		t.Errorf("the ring that was there changed: %v, %v", got, err)
	}
	if err := database(t, &vault{}, kek).Create(t.Context(), &signing.Ring{}); !errors.Is(err, signing.ErrInvalidRing) {
		t.Errorf("an empty ring: want ErrInvalidRing, got %v", err)
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	errMind := errors.New("changed my mind")
	for name, c := range map[string]struct {
		change func(r *signing.Ring) (*signing.Ring, error)
		want   string
		cause  error
	}{
		"a change that fails":           {func(*signing.Ring) (*signing.Ring, error) { return nil, errMind }, "changed my mind", errMind},
		"a change that makes none":      {func(*signing.Ring) (*signing.Ring, error) { return nil, nil }, "made none", signing.ErrNoRing},
		"two moves in one write":        {func(r *signing.Ring) (*signing.Ring, error) { n, _ := rotate(r); return rotate(n) }, "version 3 of version 1", nil},
		"another ring of that version":  {func(*signing.Ring) (*signing.Ring, error) { return signing.NewRing(t0, time.Hour) }, "version 1 of version 1", nil},
		"no change: the ring as it was": {func(r *signing.Ring) (*signing.Ring, error) { return r, nil }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &vault{}
			d := database(t, v, signing.NewSecret())
			if err := d.Create(t.Context(), firstRing(t)); err != nil {
				t.Fatal(err)
			}
			_, err := d.Update(t.Context(), c.change)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("want %q, got %v", c.want, err)
			case c.cause != nil && !errors.Is(err, c.cause):
				t.Errorf("want cause %v, got %v", c.cause, err)
			}
			if v.saves != 1 || v.version != 1 {
				t.Errorf("something was saved: %d saves, version %d", v.saves, v.version)
			}
		})
	}
}

func TestOfTwoWritersTheSlowerIsTold(t *testing.T) {
	t.Parallel()
	v := &vault{}
	d := database(t, v, signing.NewSecret())
	if err := d.Create(t.Context(), firstRing(t)); err != nil {
		t.Fatal(err)
	}
	var quicker *signing.Ring
	v.before = func() {
		var err error
		if quicker, err = d.Update(t.Context(), rotate); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Update(t.Context(), rotate); !errors.Is(err, signing.ErrRingMoved) {
		t.Errorf("want ErrRingMoved, got %v", err)
	}
	if got, err := d.Load(t.Context()); err != nil || !got.Equal(quicker) {
		t.Errorf("want the quicker one's ring, got %v, %v", got, err)
	}
}

func TestTheDatabasesOwnErrorsComeThrough(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	d := database(t, &vault{err: away}, signing.NewSecret())
	_, load := d.Load(t.Context())
	_, update := d.Update(t.Context(), rotate)
	for name, err := range map[string]error{
		"load": load, "update": update, "create": d.Create(t.Context(), firstRing(t)), "replace": d.Replace(t.Context(), firstRing(t)),
	} {
		if !errors.Is(err, away) {
			t.Errorf("%s: want the database's error, got %v", name, err)
		}
	}
	if _, err := signing.NewDatabase(&vault{}, signing.Secret{}); !errors.Is(err, signing.ErrInvalidSecret) {
		t.Errorf("an empty key-encryption key: want ErrInvalidSecret, got %v", err)
	}
}

func TestALostRingIsFollowedByOneThatNobodyTakesForOlder(t *testing.T) {
	t.Parallel()
	lost := func(t *testing.T, spoil func(v *vault)) (*signing.Database, *vault) {
		t.Helper()
		v, kek := &vault{}, signing.NewSecret()
		d := database(t, v, kek)
		if err := d.Create(t.Context(), firstRing(t)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := d.Update(t.Context(), rotate); err != nil {
				t.Fatal(err)
			}
		}
		spoil(v)
		return database(t, v, signing.NewSecret()), v
	}
	for name, spoil := range map[string]func(v *vault){
		"its key-encryption key is gone": func(*vault) {},
		"its row is gone":                func(v *vault) { v.version, v.wrapped = 0, nil },
		"its bytes are spoilt":           func(v *vault) { v.wrapped = []byte("spoilt") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, v := lost(t, spoil)
			fresh, err := signing.NewRingAfter(t0, time.Hour, 4)
			if err != nil || fresh.Version() != 5 {
				t.Fatalf("want version 5, got %v, %v", fresh, err)
			}
			if err := d.Replace(t.Context(), fresh); err != nil {
				t.Fatal(err)
			}
			if got, err := d.Load(t.Context()); err != nil || !got.Equal(fresh) || v.version != 5 {
				t.Errorf("want the new ring under version 5, got %v under %d, %v", got, v.version, err)
			}
			openWith(t, d, "test", signing.Options{MinVersion: 4})
		})
	}
	t.Run("a ring that opens is not replaced", func(t *testing.T) {
		t.Parallel()
		v := &vault{}
		d := database(t, v, signing.NewSecret())
		if err := d.Create(t.Context(), firstRing(t)); err != nil {
			t.Fatal(err)
		}
		fresh, err := signing.NewRingAfter(t0, time.Hour, 1)
		if err := d.Replace(t.Context(), moved(t, fresh, err)); !errors.Is(err, signing.ErrRingExists) || v.saves != 1 {
			t.Errorf("want ErrRingExists and nothing saved, got %v and %d saves", err, v.saves)
		}
	})
	t.Run("one that was interrupted goes on", func(t *testing.T) {
		t.Parallel()
		v := &vault{}
		d := database(t, v, signing.NewSecret())
		if err := d.Create(t.Context(), firstRing(t)); err != nil { // the first of the steps up to what was seen
			t.Fatal(err)
		}
		fresh, err := signing.NewRingAfter(t0, time.Hour, 4)
		if err := d.Replace(t.Context(), moved(t, fresh, err)); err != nil || v.version != 5 {
			t.Errorf("want version 5, got %d, %v", v.version, err)
		}
	})
	t.Run("a version that was there is refused", func(t *testing.T) {
		t.Parallel()
		d, v := lost(t, func(*vault) {})
		if err := d.Replace(t.Context(), firstRing(t)); !errors.Is(err, signing.ErrOlderRing) || v.saves != 4 {
			t.Errorf("want ErrOlderRing and nothing saved, got %v and %d saves", err, v.saves)
		}
	})
}

func TestAKeyEncryptionKeyIsMadeOnceAndKeptLikeARing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek.txt")
	if _, err := signing.LoadKEK(path); !errors.Is(err, signing.ErrNoKEK) {
		t.Errorf("load where none is: want ErrNoKEK, got %v", err)
	}
	made, err := signing.CreateKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("want mode 0600, got %v, %v", info.Mode(), err)
	}
	got, err := signing.LoadKEK(path)
	if err != nil || !got.Equal(made) {
		t.Errorf("what was made is not what is read: %v", err)
	}
	if _, err := signing.CreateKEK(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("again: want ErrExist, got %v", err)
	}
	if again, err := signing.LoadKEK(path); err != nil || !again.Equal(made) {
		t.Errorf("it was overwritten: %v", err)
	}
	if diff := cmp.Diff([]string{"kek.txt"}, entries(t, path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLoadKEKRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		mode  os.FileMode
		want  string
		cause error
	}{
		"a file that others may read": {secretA + "\n", 0o640, "run chmod 600", signing.ErrUnsafeFile},
		"a text that is no secret":    {"hunter2\n", 0o600, "does not begin with sealq1_", signing.ErrInvalidSecret},
		"a secret that was cut":       {secretA[:40], 0o600, "40 characters", signing.ErrInvalidSecret},
		"two secrets":                 {secretA + "\n" + secretB + "\n", 0o600, "characters instead of 55", signing.ErrInvalidSecret},
		"a letter that was changed":   {secretA[:20] + "x" + secretA[21:], 0o600, "checksum", signing.ErrInvalidSecret},
		"nothing":                     {"", 0o600, "does not begin with", signing.ErrInvalidSecret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek.txt")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := signing.LoadKEK(path)
			if !errors.Is(err, c.cause) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
			if strings.Contains(fmt.Sprint(err), secretA[7:20]) || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error repeats the text: %v", err)
			}
		})
	}
	t.Run("a folder that is not there", func(t *testing.T) {
		t.Parallel()
		if _, err := signing.LoadKEK(filepath.Join(t.TempDir(), "none", "kek.txt")); !errors.Is(err, signing.ErrNoKEK) {
			t.Errorf("want ErrNoKEK, got %v", err)
		}
		if _, err := signing.CreateKEK(filepath.Join(t.TempDir(), "none", "kek.txt")); !errors.Is(err, signing.ErrNoKEK) {
			t.Errorf("want ErrNoKEK, got %v", err)
		}
	})
}

// A ring in a database reads like one in a file.
func ExampleDatabase() {
	ctx := context.Background()
	kek := signing.NewSecret() // signing.LoadKEK("kek.txt")
	d, err := signing.NewDatabase(&vault{}, kek)
	if err != nil {
		fmt.Println(err)
		return
	}
	ring, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Create(ctx, ring))
	keys, err := signing.OpenWith(ctx, d, "prod-eu", signing.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	fmt.Println(keys.Version(), kek)
	// Output:
	// <nil>
	// 1 [redacted]
}
