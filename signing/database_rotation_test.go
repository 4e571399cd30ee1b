package signing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

const day = 24 * time.Hour

// lastKey is the key that was made last.
func lastKey(r *signing.Ring) signing.KeyInfo { return r.Keys()[len(r.Keys())-1] }

func TestARotationPublishesADayAheadAndPromotesWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	var p signing.RotationPolicy
	r := firstRing(t)
	first := lastKey(r).KID
	for _, step := range []struct {
		after    time.Duration
		version  uint64
		promotes bool
	}{
		{0, 1, false},
		{29*day - time.Millisecond, 1, false},
		{29 * day, 2, false}, // published
		{29*day + time.Hour, 2, false},
		{30*day - time.Millisecond, 2, false},
		{30 * day, 3, true}, // promoted
		{30*day + time.Hour, 3, false},
		{59*day - time.Millisecond, 3, false},
		{59 * day, 4, false},
		{60 * day, 5, true},
	} {
		next, promotes, err := p.Next(r, t0.Add(step.after))
		if err != nil || next.Version() != step.version || promotes.IsZero() == step.promotes {
			t.Fatalf("after %v: want version %d, promotion %v; got %v, %v, %v", step.after, step.version, step.promotes, next, promotes, err)
		}
		if !promotes.IsZero() && (promotes != lastKey(next).KID || lastKey(next).State != signing.Active) {
			t.Fatalf("after %v: %s was said to be promoted, the last key is %s", step.after, promotes, lastKey(next).State)
		}
		r = next
	}
	if r.Keys()[0].KID != first || r.Keys()[0].State != signing.Retiring {
		t.Errorf("the first key is %s, not retiring", r.Keys()[0].State)
	}
}

func TestAKeyThatWasPublishedLateStillWaitsItsDay(t *testing.T) {
	t.Parallel()
	var p signing.RotationPolicy
	late := t0.Add(40 * day) // nobody rotated for ten days
	published, promotes, err := p.Next(firstRing(t), late)
	if err != nil || published.Version() != 2 || !promotes.IsZero() {
		t.Fatalf("want a key published and none promoted, got %v, %v, %v", published, promotes, err)
	}
	if next, _, err := p.Next(published, late.Add(day-time.Millisecond)); err != nil || next != published {
		t.Errorf("before a day: want no move, got %v, %v", next, err)
	}
	if next, promotes, err := p.Next(published, late.Add(day)); err != nil || next.Version() != 3 || promotes != lastKey(published).KID {
		t.Errorf("after a day: want it promoted, got %v, %v, %v", next, promotes, err)
	}
}

func TestASuccessorSignsTheSameKindsAndHasBeenKnownLongest(t *testing.T) {
	t.Parallel()
	r := firstRing(t)
	if kid := r.Successor(); !kid.IsZero() {
		t.Errorf("want none, got %s", kid)
	}
	for _, kinds := range [][]string{{"mail:*"}, nil, nil} {
		next, err := r.Rotate(t0.Add(time.Duration(r.Version())*time.Hour), kinds)
		r = moved(t, next, err)
	}
	if kid := r.Successor(); kid != r.Keys()[2].KID {
		t.Errorf("want the older one for every kind, %s, got %s", r.Keys()[2].KID, kid)
	}
	next, promotes, err := signing.RotationPolicy{}.Next(r, t0.Add(31*day))
	if err != nil || promotes != r.Keys()[2].KID || next.Keys()[1].State != signing.Published {
		t.Errorf("want %s promoted and the narrow key left alone, got %s, %v, %v", r.Keys()[2].KID, promotes, next.Keys(), err)
	}
}

func TestARotatedKeySignsWhatItsPredecessorSigned(t *testing.T) {
	t.Parallel()
	r := parse(t, ringFields(keyFields(kidA, "active", secretA).with("kinds", []string{"mail:*"})))
	next, _, err := signing.RotationPolicy{}.Next(r, t0.Add(30*day))
	if r = moved(t, next, err); len(lastKey(r).Kinds) != 1 || lastKey(r).Kinds[0] != "mail:*" {
		t.Errorf("want mail:*, got %v", lastKey(r).Kinds)
	}
}

func TestAPolicyThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy signing.RotationPolicy
		sound  bool
	}{
		"its defaults":              {signing.RotationPolicy{}, true},
		"twice a second, for tests": {signing.RotationPolicy{Every: 500 * time.Millisecond, Ahead: 100 * time.Millisecond}, true},
		"ahead by the whole time":   {signing.RotationPolicy{Every: day, Ahead: day}, false},
		"ahead by the default":      {signing.RotationPolicy{Every: time.Hour}, false},
		"behind":                    {signing.RotationPolicy{Ahead: -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.policy.Check(); c.sound != (err == nil) || err != nil && !errors.Is(err, signing.ErrInvalidPolicy) {
				t.Errorf("got %v", err)
			}
		})
	}
}
