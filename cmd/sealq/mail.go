package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker/authworker"
)

func (p *program) mail() *cobra.Command {
	return group(&cobra.Command{
		Use: "mail", Short: "See what mails look like, and to which addresses nothing is sent",
		Example: "  sealq mail preview confirmation --lang de --open\n  sealq mail suppressions list",
	}, p.mailPreview(), p.mailSuppressions())
}

// previewFlags are what `sealq mail preview` takes beside its options.
type previewFlags struct {
	lang                   string
	html, text, open, done bool
}

func (p *program) mailPreview() *cobra.Command {
	var f previewFlags
	var kinds []string
	for _, kind := range mail.Kinds() {
		kinds = append(kinds, string(kind))
	}
	c := uses(&cobra.Command{
		Use: "preview KIND", Short: "Print a mail as it will be sent, with a made-up key", Args: exactly("KIND"),
		Long: "Print a mail as it will be sent, with a made-up key in its link: subject and text, unless told otherwise. All templates are\n" +
			"checked first, as they are when a worker starts. Nothing is connected to. The kinds are\n  " + strings.Join(kinds, "\n  "),
		Example:   "  sealq mail preview confirmation --lang de\n  sealq mail preview password_reset --mail-templates ./mails --open",
		ValidArgs: kinds,
		RunE:      p.action(func(ctx context.Context, s *session, args []string) error { return s.mailPreview(ctx, args[0], f) }),
	}, "mail-templates", "mail-lang", "product", "base-url", "confirm-path", "reset-path", "email-path")
	c.Flags().StringVar(&f.lang, "lang", "", "the reader's language, a `TAG` such as de or pt-BR (default: --mail-lang)")
	c.Flags().BoolVar(&f.text, "text", false, "print subject and text (the default)")
	c.Flags().BoolVar(&f.html, "html", false, "print the HTML")
	c.Flags().BoolVar(&f.open, "open", false, "open the HTML in the browser ($BROWSER, or the system's)")
	c.Flags().BoolVar(&f.done, "done", false, "of email_notice: the address has been changed")
	return c
}

func (s *session) mailPreview(ctx context.Context, name string, f previewFlags) error {
	kind := mail.Kind(strings.TrimPrefix(name, "mail:")) // as the kind of the job is called
	if !slices.Contains(mail.Kinds(), kind) {
		var all []string
		for _, k := range mail.Kinds() {
			all = append(all, string(k))
		}
		return wrongly("there is no mail of the kind %q: there are %s", name, strings.Join(all, ", "))
	}
	lang, err := accounts.ParseLanguage(f.lang)
	if err != nil {
		return wrongly("--lang: %w", err)
	}
	if f.text && f.html || f.text && f.open || f.html && f.open {
		return wrongly("--text, --html and --open exclude each other: give one of them")
	}
	if f.done && kind != mail.KindEmailNotice {
		return wrongly("--done is for %s alone", mail.KindEmailNotice)
	}
	templates, err := s.mailTemplates()
	if err != nil {
		return err
	}
	product, err := s.product()
	if err != nil {
		return err
	}
	link, err := s.sampleLink(kind)
	if err != nil {
		return err
	}
	content, err := templates.Preview(kind, mail.Sample{Product: product, Language: lang, Link: link, At: s.now().Truncate(time.Minute), Done: f.done})
	if err != nil {
		return err
	}
	files := templates.Files(kind, lang)
	if s.json {
		return s.printJSON(map[string]any{
			"kind": kind, "language": content.Language, "subject": content.Subject, "text": content.Text, "html": content.HTML, "files": files,
		})
	}
	if err := s.sayWhence(templates, content.Language, files); err != nil {
		return err
	}
	switch {
	case f.open:
		return s.openPage(ctx, content.HTML)
	case f.html:
		fmt.Fprint(s.stdout, content.HTML)
	default:
		fmt.Fprintf(s.stdout, "Subject: %s\n\n%s", content.Subject, content.Text)
	}
	return nil
}

// sayWhence tells, on standard error, which parts are the app's own and what language it is.
func (s *session) sayWhence(t *mail.Templates, language string, files map[string]string) error {
	dir, err := s.Text("mail-templates")
	if err != nil || dir == "" {
		return err
	}
	fmt.Fprintf(s.stderr, "in %s, of %s\n", language, strings.Join(t.Languages(), ", "))
	for _, part := range slices.Sorted(maps.Keys(files)) {
		where := "built in"
		if files[part] != "" {
			where = filepath.Join(dir, filepath.FromSlash(files[part]))
		}
		fmt.Fprintf(s.stderr, "%s: %s\n", part, where)
	}
	return nil
}

// sampleLink leads where the mails of a kind do, with a key that nobody has.
func (s *session) sampleLink(kind mail.Kind) (string, error) {
	var c authworker.Config
	var err error
	into(&c.BaseURL, &err)(s.Page("base-url"))
	into(&c.ConfirmPath, &err)(s.Path("confirm-path"))
	into(&c.ResetPath, &err)(s.Path("reset-path"))
	into(&c.EmailPath, &err)(s.Path("email-path"))
	if err != nil {
		return "", err
	}
	link, err := c.Link(kind, mail.SampleKey)
	if err != nil {
		return "", wrongly("--base-url: %w", err)
	}
	return link, nil
}

// product is the app's name in mails.
func (s *session) product() (string, error) {
	product, err := s.Text("product")
	if err != nil || product != "" {
		return product, err
	}
	page, err := s.Page("base-url")
	if err != nil {
		return "", err
	}
	u, err := url.Parse(page)
	if err != nil {
		return "", wrongly("--base-url is no URL")
	}
	return u.Hostname(), nil
}

// mailTemplates reads and checks the templates.
func (s *session) mailTemplates() (*mail.Templates, error) {
	dir, err := s.Text("mail-templates")
	if err != nil {
		return nil, err
	}
	c := mail.TemplatesConfig{}
	if c.Language, err = s.Text("mail-lang"); err != nil {
		return nil, err
	}
	if dir != "" {
		c.Folder = os.DirFS(dir)
	}
	t, err := mail.NewTemplates(c)
	if errors.Is(err, mail.ErrNoLanguage) {
		return nil, wrongly("--mail-lang %q: %w", c.Language, err)
	}
	if err != nil {
		return nil, wrongly("--mail-templates %s: %w", dir, err)
	}
	product, err := s.product()
	if err != nil {
		return nil, err
	}
	if err := t.Check(product); err != nil {
		return nil, wrongly("--product: %w", err)
	}
	return t, nil
}

// browserPatience is how long a browser may take to say that it cannot start.
const browserPatience = 5 * time.Second

// openPage writes the page to a file, says where, and opens it, if there is something to open it with.
func (s *session) openPage(ctx context.Context, page string) error {
	file, err := os.CreateTemp("", "sealq-mail-*.html")
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	_, err = file.WriteString(page)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	fmt.Fprintln(s.stdout, file.Name())
	name, args := opener(s.environ)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, append(args, file.Name())...) //nolint:gosec // the browser of whoever asked
	err = cmd.Start()
	if err == nil {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }() // it outlives this process where it is the browser itself
		select {
		case err = <-ended:
		case <-time.After(browserPatience):
		}
	}
	if err != nil {
		fmt.Fprintf(s.stderr, "sealq: no browser could be started (%v): open the file yourself\n", err)
	}
	return nil
}

// opener is what opens a file for a person.
func opener(environ []string) (name string, args []string) {
	for _, variable := range environ {
		if browser, ok := strings.CutPrefix(variable, "BROWSER="); ok && browser != "" {
			return browser, nil
		}
	}
	switch runtime.GOOS {
	case "darwin":
		return "open", nil
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler"}
	default:
		return "xdg-open", nil
	}
}
