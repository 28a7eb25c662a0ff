//go:build !unix

package edge

// There is no way here to wait without reading: connections do not rest.
