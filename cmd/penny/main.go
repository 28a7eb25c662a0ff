// Command penny asks and answers web requests on machines that cost coins.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pennyfarthing/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, cli.SystemEnv(), os.Args[1:]))
}
