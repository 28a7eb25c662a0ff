package keys

import (
	"bufio"
	"bytes"
	"regexp"
	"testing"

	"filippo.io/age/armor"
)

func TestASealIsMadeToCostSomething(t *testing.T) {
	data, err := seal([]byte("secret"), "correct horse", sealWork)
	if err != nil {
		t.Fatal(err)
	}
	head, err := bufio.NewReader(armor.NewReader(bytes.NewReader(data))).Peek(80)
	if err != nil || !regexp.MustCompile(`^age-encryption\.org/v1\n-> scrypt [A-Za-z0-9+/]{22} 17\n`).Match(head) {
		t.Errorf("scrypt's N is another than 2^17: %q, %v", head, err)
	}
}
