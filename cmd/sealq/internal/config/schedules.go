package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/knadh/koanf/v2"
)

// SchedulesKey is where a file lists schedules. There is no flag of that name.
const SchedulesKey = "schedules"

// Schedule is a schedule as a file has it.
type Schedule struct {
	Where                        string // which entry it is, for people
	Name, Cron, Zone, Kind, Args string
	CatchUp                      string
	Jitter                       time.Duration
	Paused                       bool
	// Err is what is wrong with the entry's shape; zero: nothing is.
	Err error
}

// scheduleEntries takes the list of schedules out of a file's settings, whose keys are options otherwise.
func scheduleEntries(path string, ko *koanf.Koanf) ([]any, error) {
	if !ko.Exists(SchedulesKey) {
		return nil, nil
	}
	defer ko.Delete(SchedulesKey)
	entries, ok := ko.Get(SchedulesKey).([]any)
	if !ok && ko.Get(SchedulesKey) != nil {
		return nil, refuse(fmt.Sprintf("%s (--%s): %s is a list: each entry begins with \"- name: …\"", path, FileFlag, SchedulesKey))
	}
	return entries, nil
}

// Schedules are those of the file. What is wrong with one stops no other.
func (s *Settings) Schedules() []Schedule {
	all := make([]Schedule, len(s.schedules))
	for i, entry := range s.schedules {
		all[i] = scheduleOf(entry)
		all[i].Where = fmt.Sprintf("%s, entry %d", SchedulesKey, i+1)
		if all[i].Name != "" {
			all[i].Where += fmt.Sprintf(" (%.64s)", all[i].Name)
		}
	}
	return all
}

func scheduleOf(entry any) (s Schedule) {
	fields, ok := entry.(map[string]any)
	if !ok {
		s.Err = refuse("it is no mapping: write name, cron and kind")
		return s
	}
	texts := map[string]*string{"name": &s.Name, "cron": &s.Cron, "zone": &s.Zone, "kind": &s.Kind, "catch_up": &s.CatchUp}
	known := append(slices.Collect(maps.Keys(texts)), "args", "jitter", "paused")
	problem := func(key, want string) {
		if s.Err == nil {
			s.Err = refuse(fmt.Sprintf("%s is %s", key, want))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		text, isText := value.(string)
		switch place := texts[key]; {
		case value == nil:
		case place != nil && isText:
			*place = text
		case place != nil:
			problem(key, "a text: put it in quotes")
		case key == "jitter":
			d, err := time.ParseDuration(text)
			if err != nil {
				problem(key, "a duration such as 30s")
			}
			s.Jitter = d
		case key == "paused":
			paused, ok := value.(bool)
			if !ok {
				problem(key, "true or false")
			}
			s.Paused = paused
		case key == "args":
			encoded, err := json.Marshal(value)
			if _, isMap := value.(map[string]any); err != nil || !isMap {
				problem(key, "a mapping of arguments")
			}
			s.Args = string(encoded)
		default:
			slices.Sort(known)
			problem(fmt.Sprintf("%.64q", key), fmt.Sprintf("no key of a schedule: did you mean %s?", nearest(key, known)))
		}
	}
	return s
}
