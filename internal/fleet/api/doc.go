// Package api holds what travels between an agent and those who speak to it:
// the paths, headers, requests, answers and errors of the agent's API, and which
// versions of it there are. docs/agent-api.md describes the API for people.
//
// It is shared by the daemon on a POP (package agent) and by what pushes to POPs
// (package control). It has no behaviour beyond reading and writing these values,
// and knows neither keys nor releases: keys, hashes and statements are text and
// raw JSON here, because whoever receives them must verify them anyway.
//
// Two versions of the API live side by side: an agent answers its own and the one
// before, and so does a client ask. Within a version fields are only added, and
// fields that a reader does not know are ignored, so a version grows only when the
// meaning of something changes.
package api
