package fetch

import (
	"errors"
	"fmt"

	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

// errPanic is a panic that became an error.
var errPanic = errors.New("panic")

// handshakeVerdict says why there is no TLS.
func handshakeVerdict(err error) verdict.Code {
	if errors.Is(err, errPanic) {
		return verdict.SelfOther
	}
	return fault.TLS(err)
}

// settle is the last line of defence: an exchange never goes without a verdict.
func (x *Exchange) settle(p any) {
	if p != nil {
		x.Verdict, x.Err = verdict.SelfOther, fmt.Sprintf("panic: %.100v", p)
	}
	if x.Verdict == verdict.None {
		x.Verdict, x.Err = verdict.SelfOther, "the exchange ended without a verdict"
	}
}
