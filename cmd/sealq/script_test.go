package main

import (
	"errors"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealq": main})
}

// TestScripts runs the sessions in testdata/script. Beside testscript's own commands they use:
//
//	exits N sealq …        run sealq, which must end with exit code N
//	until PATTERN sealq …  run sealq again and again, until its standard output matches
//	start NAME sealq …     run sealq until finish; $NAME_addr is where it answers health checks
//	                       and NAME.out what it prints
//	terminal N sealq …     run sealq on a terminal of N columns; all that it writes there is the standard output, and what is
//	                       left on the screen the file "screen" (Linux)
//	finish NAME            send SIGTERM; it must end with exit code 0 in time
//	interrupt NAME         send SIGINT; likewise
//	page PATTERN URL       read a page until it matches; it is the standard output
//	submit CODE URL [K=V]  send a form, which must be answered with the code; the answer is the standard output
//	logs NAME PATTERN      wait until what it logs matches
//	hangup NAME            send SIGHUP
//	age DURATION           make the ring of $SEALQ_KEYS older, as if so much time had passed since its last write
//	terminate NAME         send SIGTERM, and do not wait
//	killed NAME            send SIGTERM again; it must end at once, of the signal
//	readyz NAME CODE       ask /readyz until it answers with the code; its answer is the standard output
//	metrics NAME           ask /metrics, with $METRICS_KEY where there is one; its answer is the standard output
//	redis [stop|start]     a Redis of the script's own at $SEALQ_REDIS_URL
//	postgres               an empty PostgreSQL database at $SEALQ_DATABASE_URL
//	role NAME [SQL]        make a role of that PostgreSQL, with those attributes (LOGIN); $NAME is its name
//	sql ROLE STATEMENT     run SQL as the role; what it returns, or its SQLSTATE, is the standard output
//	smtp [stalling]        a mail server that keeps what it gets, or never answers to it, at $SEALQ_SMTP_URL
//	stalled                wait until the mail server has a mail that it does not answer to
//	mail ADDRESS           wait for a mail to the address; $KEY is the key in its link
//	forge KIND             put an unsigned task straight into Redis, with the payload "forged"
//	poke COMMAND …         send the script's Redis a command; an argument in double quotes is a Go string
//	sql STATEMENT          ask or change the script's SQLite database, sealq.db; rows of one value are the standard output
//	id                     $ID is the ID in what was just printed as JSON
//	entry                  $ENTRY is the first ID of the list of the quarantine that was just printed
//	refused NAME TASK REASON [unsigned] [altered] [ago=DURATION] [kind=K] [queue=Q] [effect=ID] [payload=JSON]
//	                       put a task, signed under keys.json, into the database's quarantine; $NAME is the entry's ID
//	value NAME PATTERN     $NAME is what the pattern's group matches in the standard output
//	empty-redis            require that the script's Redis holds no key
//	taken                  take a port; $TAKEN is its address
//	kid STATE [stdout]     $KID is the newest key of that state, in keys.json or in the list that was just printed as JSON
//	process NAME           $PROCESS is what the process calls itself in reports
//	closed                 find an address where nobody listens, $CLOSED
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[worldKey{}] = newWorld(env.T().(testing.TB))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "page": readPage, "submit": submitForm, "readyz": readyz, "metrics": scrape,
			"terminal": inWorld((*world).onTerminal),
			"start":    inWorld((*world).start), "finish": inWorld((*world).finish), "interrupt": inWorld((*world).interrupt),
			"terminate": inWorld((*world).terminate), "killed": inWorld((*world).killed), "stalled": inWorld((*world).stalled),
			"hangup": inWorld((*world).hangup), "logs": inWorld((*world).waitLog), "age": inWorld((*world).age), "process": inWorld((*world).process),
			"postgres": inWorld((*world).usePostgres), "role": inWorld((*world).makeRole), "sql-as": inWorld((*world).runSQL),
			"redis": inWorld((*world).useRedis), "smtp": inWorld((*world).useMail), "mail": inWorld((*world).waitMail),
			"forge": inWorld((*world).forge), "taken": inWorld((*world).takePort), "closed": inWorld((*world).closedPort),
			"kid": inWorld((*world).kid), "entry": inWorld((*world).entry),
			"refused": inWorld((*world).refused), "value": value,
			"empty-redis": inWorld((*world).emptyRedis),
			"poke":        inWorld((*world).poke), "sql": inWorld((*world).sql), "id": inWorld((*world).id),
		},
	})
}

type worldKey struct{}

// inWorld makes a method of the script's world a command. None of them can be negated.
func inWorld(do func(w *world, ts *testscript.TestScript, args []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		do(ts.Value(worldKey{}).(*world), ts, args)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N sealq …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN sealq …")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	poll(ts, "the answer to match "+args[0], func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout"))
	})
}

func value(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: value NAME PATTERN")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("%q does not match %s with one group", ts.ReadFile("stdout"), args[1])
	}
	ts.Setenv(args[0], found[1])
}

func readyz(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: readyz NAME CODE")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	poll(ts, "/readyz to answer "+args[1], func() bool {
		code, body := get(ts, "http://"+ts.Getenv(args[0]+"_addr")+"/readyz")
		_, err := ts.Stdout().Write(body)
		ts.Check(err)
		return code == want
	})
	if code, _ := get(ts, "http://"+ts.Getenv(args[0]+"_addr")+"/healthz"); code != http.StatusOK {
		ts.Fatalf("/healthz answers %d", code)
	}
}

func scrape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: metrics NAME")
	}
	var headers []string
	if key := ts.Getenv("METRICS_KEY"); key != "" {
		headers = []string{"Authorization", "Bearer " + key}
	}
	code, body := get(ts, "http://"+ts.Getenv(args[0]+"_addr")+"/metrics", headers...)
	if code != http.StatusOK {
		ts.Fatalf("/metrics answers %d", code)
	}
	_, err := ts.Stdout().Write(body)
	ts.Check(err)
}

// patience is how long a script waits for anything.
const patience = time.Minute

// poll asks until it is true.
func poll(ts *testscript.TestScript, what string, ask func() bool) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !ask() {
		select {
		case <-deadline.C:
			ts.Fatalf("waited %v for %s", patience, what)
		case <-again.C:
		}
	}
}
