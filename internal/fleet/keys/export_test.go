package keys

// SmallOrder is smallOrder, for the test that forges signatures under such keys.
func SmallOrder() [7]PublicKey { return smallOrder() }

// Seal and Unseal are seal and unseal, which tests try with damaged files. Work is
// as little as possible: under the race detector it takes seconds.
func Seal(plain []byte, passphrase string) ([]byte, error) { return seal(plain, passphrase, 1) }

// Unseal is unseal.
func Unseal(data []byte, passphrase string) ([]byte, error) {
	return unseal(data, passphrase, openWork)
}
