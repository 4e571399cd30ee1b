package instance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotRoot is the cause when Postfix is asked for by somebody else: its daemons change their user.
var ErrNotRoot = errors.New("only root can start it")

// FindPostfix returns the path of postfix, which is not on everybody's PATH.
func FindPostfix() (string, error) {
	for _, name := range []string{"postfix", "/usr/sbin/postfix"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("postfix: %w", ErrNotInstalled)
}

// Postfix is one Postfix with configuration, queue and mailboxes of its own. It relays nothing: mail to its mailboxes stays in its
// folder, and other recipients are refused. Its methods are not for concurrent use.
type Postfix struct {
	dir    string
	name   string // what it greets with: no other server has it
	port   *Port
	server *process
}

// postfixMain is its main.cf: DIR, NAME, UID, GID, MAILBOXES, SIZE.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
myhostname = %[2]s
mydestination =
alias_maps =
alias_database =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_maps = inline:{ %[5]s }
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:%[3]s
virtual_gid_maps = static:%[4]s
virtual_minimum_uid = 1
smtpd_recipient_restrictions = reject_unlisted_recipient, reject_unauth_destination
message_size_limit = %[6]d
maillog_file = /dev/stdout
`

// postfixMaster is its master.cf: nothing that sends, and no chroot.
const postfixMaster = `%s inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// PostfixConfig of a Postfix.
type PostfixConfig struct {
	Limit     int      // of a message, in bytes
	Mailboxes []string // at example.org
	Settings  []string // further lines of main.cf
}

// NewPostfix starts the Postfix of binary.
func NewPostfix(ctx context.Context, binary string, c PostfixConfig) (*Postfix, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("new postfix: %w", ErrNotRoot)
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return nil, fmt.Errorf("new postfix: %w", err)
	}
	dir, err := os.MkdirTemp("/tmp", "sealq-postfix-") // its daemons run as others, and may not enter everybody's temporary folder
	if err != nil {
		return nil, fmt.Errorf("new postfix: %w", err)
	}
	p := &Postfix{dir: dir, name: filepath.Base(dir) + ".test"}
	if p.port, err = ReservePort(ctx); err == nil {
		err = p.start(ctx, binary, owner, c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new postfix: %w", err), p.Close())
	}
	return p, nil
}

func (p *Postfix) start(ctx context.Context, binary string, owner *user.User, c PostfixConfig) error {
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return fmt.Errorf("user ID of postfix: %w", err)
	}
	for _, sub := range []string{"etc", "queue", "data", "mail"} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o755); err != nil {
			return fmt.Errorf("make its folder: %w", err)
		}
	}
	err = errors.Join(os.Chmod(p.dir, 0o755), os.Chown(filepath.Join(p.dir, "data"), uid, -1), os.Chown(filepath.Join(p.dir, "mail"), uid, -1))
	if err != nil {
		return fmt.Errorf("give it its folders: %w", err)
	}
	var boxes []string
	for _, box := range c.Mailboxes {
		boxes = append(boxes, "{"+box+"@example.org="+box+"/}")
	}
	main := fmt.Sprintf(postfixMain, p.dir, p.name, owner.Uid, owner.Gid, strings.Join(boxes, ", "), c.Limit) + strings.Join(c.Settings, "\n") + "\n"
	err = errors.Join(
		os.WriteFile(filepath.Join(p.etc(), "main.cf"), []byte(main), 0o644),
		os.WriteFile(filepath.Join(p.etc(), "master.cf"), fmt.Appendf(nil, postfixMaster, p.port.Addr()), 0o644),
	)
	if err != nil {
		return fmt.Errorf("write its configuration: %w", err)
	}
	if out, err := p.command(ctx, binary, "check").CombinedOutput(); err != nil { // it makes the folders of the queue, too
		return fmt.Errorf("check: %w: %s", err, strings.TrimSpace(string(out)))
	}
	daemons, err := p.command(ctx, filepath.Join(filepath.Dir(binary), "postconf"), "-h", "daemon_directory").Output()
	if err != nil {
		return fmt.Errorf("ask for its daemons: %w", err)
	}
	// The server outlives the call: Close ends it, not ctx.
	cmd := p.command(context.WithoutCancel(ctx), filepath.Join(strings.TrimSpace(string(daemons)), "master"), "-s")
	p.server, err = startProcess(ctx, cmd, filepath.Join(p.dir, "log"), syscall.SIGTERM, p.ready)
	return err
}

func (p *Postfix) etc() string { return filepath.Join(p.dir, "etc") }

func (p *Postfix) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+p.etc())
	return cmd
}

func (p *Postfix) ready(ctx context.Context, _ int) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", p.Addr())
	if err != nil {
		return fmt.Errorf("ask postfix: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return fmt.Errorf("ask postfix: %w", err)
	}
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(greeting, "220 "+p.name) {
		err = errors.New("another server answers on " + p.Addr())
	}
	return err
}

// Addr is where it listens.
func (p *Postfix) Addr() string { return p.port.Addr() }

// Mails are what it delivered to a mailbox, as it stands on the disk, in no order.
func (p *Postfix) Mails(mailbox string) ([][]byte, error) {
	files, err := filepath.Glob(filepath.Join(p.dir, "mail", mailbox, "new", "*"))
	if err != nil {
		return nil, fmt.Errorf("read the mailbox: %w", err)
	}
	slices.Sort(files)
	var mails [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the mailbox: %w", err)
		}
		mails = append(mails, data)
	}
	return mails, nil
}

// Close ends it, and gives port and folder back.
func (p *Postfix) Close() error {
	var errs []error
	if p.server != nil {
		errs = append(errs, p.server.signal(syscall.SIGTERM))
	}
	if p.port != nil {
		errs = append(errs, p.port.Release())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}
