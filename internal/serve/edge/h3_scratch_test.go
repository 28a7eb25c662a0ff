package edge_test

import "testing"

func TestH3Scratch(t *testing.T) {
	e := h3Serve(t)
	c := h3Dial(t, e, nil)
	c.openControl(h3Settings())
	a, err := c.get("/")
	t.Log(a.status, a.fields, string(a.body), err)
}
