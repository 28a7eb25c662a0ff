package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/up"
)

type agentOptions struct {
	*globals
	runFlags
	api    string
	listen []string
	http   []string
	owner  string
	fleet  string
	pop    string
	leaf   string
	disk   size
}

func newAgent(g *globals, env Env) *cobra.Command {
	o := agentOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the daemon of a POP",
		Long: `Runs the daemon of a POP: it keeps the releases that are deployed to it, serves
them to visitors, and answers the members of its fleet (docs/agent-api.md). It
dials nobody, and serves what it has without them.

For the first time, without --owner, it makes its key in the state directory,
prints the public one and ends. The owner of a fleet pins it (penny key pin);
then --owner, --fleet and --pop say where it belongs, once and for all. Its first
certificate is brought by penny control, which knows it by that key.`,
		Example: "  penny agent --state /var/lib/penny\n  penny agent --state /var/lib/penny --owner pk1… --fleet linkedlist --pop au\n  penny agent --state /var/lib/penny --api 127.0.0.1:8440 --listen 127.0.0.1:8443 --http ''",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), o, env) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.api, "api", ":8440", "`address` that members of the fleet connect to")
	flags.StringArrayVar(&o.listen, "listen", []string{":443"}, "`address` for visitors over HTTPS; may be given several times, \"\" for none")
	flags.StringArrayVar(&o.http, "http", []string{":80"}, "`address` for visitors over plain HTTP; may be given several times, \"\" for none")
	flags.StringVar(&o.owner, "owner", "", "public `key` of the fleet's owner")
	flags.StringVar(&o.fleet, "fleet", "", "`name` of the fleet")
	flags.StringVar(&o.pop, "pop", "", "`name` of this POP")
	flags.StringVar(&o.leaf, "leaf", "", "`file` with the first certificate of the agent (PEM), instead of having it brought")
	flags.Var(&o.disk, "disk", "disk that releases may take (default 80 % of what is free)")
	o.add(flags)
	return cmd
}

// enrolment reads where the POP belongs, if that was said.
func (o *agentOptions) enrolment() (agent.Enrolment, error) {
	if o.owner == "" && o.fleet == "" && o.pop == "" {
		return agent.Enrolment{}, nil
	}
	if o.owner == "" || o.fleet == "" || o.pop == "" {
		return agent.Enrolment{}, &usageError{what: "--owner, --fleet and --pop go together", hint: "penny agent --owner pk1… --fleet linkedlist --pop au"}
	}
	owner, err := keys.ParsePublicKey(o.owner)
	if err != nil {
		return agent.Enrolment{}, &usageError{what: "--owner: " + err.Error(), hint: "penny key list shows the owner's key"}
	}
	e := agent.Enrolment{Fleet: o.fleet, POP: o.pop, Owner: owner}
	if err := e.Check(); err != nil {
		return agent.Enrolment{}, &usageError{what: err.Error(), hint: "take the names that penny.toml has"}
	}
	return e, nil
}

func (o *agentOptions) validate() error {
	o.listen, o.http = withoutEmpty(o.listen), withoutEmpty(o.http)
	for _, address := range append(append([]string{o.api}, o.listen...), o.http...) {
		if !hasPort(address) {
			return &usageError{what: fmt.Sprintf("%q is not an address with a port", address), hint: "write 127.0.0.1:8440, or :8440 for all addresses"}
		}
	}
	return o.runFlags.validate()
}

func withoutEmpty(addresses []string) []string {
	var all []string
	for _, a := range addresses {
		if a != "" {
			all = append(all, a)
		}
	}
	return all
}

func runAgent(ctx context.Context, o agentOptions, env Env) error {
	if err := o.validate(); err != nil {
		return err
	}
	enrolment, err := o.enrolment()
	if err != nil {
		return err
	}
	common, err := o.common(o.globals, env)
	if err != nil {
		return err
	}
	key, err := agent.Key(common.State)
	if err != nil {
		return err
	}
	if o.leaf != "" {
		if err := installLeaf(common.State, enrolment, o.leaf); err != nil {
			return err
		}
	}
	enrolment, err = agent.Enrol(common.State, enrolment)
	if errors.Is(err, agent.ErrNotEnrolled) {
		return o.printKey(env.Stdout, key)
	}
	if err != nil {
		return err
	}
	return up.Agent(ctx, up.AgentOptions{
		Common: common, Enrolment: enrolment, API: o.api, Listen: o.listen, Plain: o.http, Disk: int64(o.disk), Version: buildVersion(),
	}, func(r up.AgentRunning) { o.print(env.Stdout, r) })
}

// installLeaf gives an agent its first certificate.
func installLeaf(dir string, e agent.Enrolment, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: file, What: "there is no such file", Hint: "--leaf names the certificate that the owner issued for this POP"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	chain, err := io.ReadAll(io.LimitReader(f, api.MaxPEM))
	if err != nil {
		return err
	}
	err = agent.InstallLeaf(dir, e, chain)
	if errors.Is(err, agent.ErrNotEnrolled) {
		return &usageError{what: "--leaf needs --owner, --fleet and --pop the first time", hint: "penny agent --owner pk1… --fleet linkedlist --pop au --leaf " + file}
	}
	return err
}

// printKey prints the key of an agent that belongs to no fleet yet.
func (o *agentOptions) printKey(w io.Writer, key keys.PublicKey) error {
	if o.json {
		return json.NewEncoder(w).Encode(map[string]any{"key": key.String(), "enrolled": false})
	}
	_, err := fmt.Fprintln(w, key)
	if o.quiet || err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, "this POP belongs to no fleet yet. The fleet's owner types\n  penny key pin NAME "+key.String()+"\nand then here\n  penny agent --owner pk1… --fleet FLEET --pop NAME")
	return err
}

// print tells that the agent answers. Standard output may be closed; there is
// nobody to tell then.
func (o *agentOptions) print(w io.Writer, r up.AgentRunning) {
	if o.json {
		_ = json.NewEncoder(w).Encode(r)
		return
	}
	_, _ = fmt.Fprintf(w, "POP %s of the fleet %s answers its members at %s\n", r.POP, r.Fleet, r.API)
	if r.HTTPS != "" {
		_, _ = fmt.Fprintf(w, "visitors are served at %s over HTTPS\n", r.HTTPS)
	}
	if r.HTTP != "" {
		_, _ = fmt.Fprintf(w, "visitors are served at %s over HTTP\n", r.HTTP)
	}
	if o.quiet {
		return
	}
	_, _ = fmt.Fprintf(w, "the key of this POP is %s\n", r.Key)
	if r.Leaf.IsZero() {
		_, _ = fmt.Fprintf(w, "it has no certificate yet: the fleet's owner types penny key pin %s %s, and penny control brings it\n", r.POP, r.Key)
	}
	if r.Admin != "" {
		_, _ = fmt.Fprintf(w, "metrics at %s/metrics\n", r.Admin)
	}
}
