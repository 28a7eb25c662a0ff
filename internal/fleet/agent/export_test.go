package agent

// Routes returns how many routes there are, for the test that names each.
func Routes() int { return len(routes()) }
