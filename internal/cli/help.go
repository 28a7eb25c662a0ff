package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func newHelp(g *globals, env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Long:    "Prints what a command does, with its flags and examples, or the list of commands.",
		Example: "  penny help\n  penny help serve",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range about.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runHelp(cmd.Root(), g, args, env) },
	}
}

func runHelp(root *cobra.Command, g *globals, args []string, env Env) error {
	about, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		if about == root {
			return noSuchCommand(root, rest)
		}
		return &usageError{what: fmt.Sprintf("%s has no command %q", about.CommandPath(), rest[0]), hint: "penny help " + about.Name()}
	}
	about.InitDefaultHelpFlag() // or they are not listed
	about.InitDefaultVersionFlag()
	text := helpText(about)
	if g.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"command": about.CommandPath(), "text": text})
	}
	_, err = fmt.Fprint(env.Stdout, text)
	return err
}

// helpText is what --help prints of a command.
func helpText(about *cobra.Command) string {
	text := about.Long
	if text == "" {
		text = about.Short
	}
	return text + "\n\n" + about.UsageString()
}
