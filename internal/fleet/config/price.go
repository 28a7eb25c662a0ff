package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Price is what a POP costs. The zero value means that nobody said.
type Price struct {
	Micros   int64  // millionths of Currency, never negative
	Currency string // ISO 4217
	Per      Period
}

// A Period is what a price buys.
type Period int

// The periods. A month has 730 hours, a year has 12 months.
const (
	Hour Period = iota + 1
	Month
	Year
)

// String returns the word for p in a price.
func (p Period) String() string {
	switch p {
	case Hour:
		return "hour"
	case Month:
		return "month"
	case Year:
		return "year"
	}
	return fmt.Sprintf("Period(%d)", int(p))
}

// IsZero reports whether nobody said what p is.
func (p Price) IsZero() bool { return p == Price{} }

// Monthly returns what p comes to a month, rounded to the nearest millionth.
func (p Price) Monthly() Price {
	switch p.Per {
	case Hour:
		p.Micros *= 730
	case Year:
		p.Micros = (p.Micros + 6) / 12
	case Month:
	}
	if !p.IsZero() {
		p.Per = Month
	}
	return p
}

// String returns p as a fleet file has it: "5 USD/month".
func (p Price) String() string {
	if p.IsZero() {
		return "unknown"
	}
	amount := strconv.FormatInt(p.Micros/1e6, 10)
	if rest := p.Micros % 1e6; rest > 0 {
		amount += "." + strings.TrimRight(fmt.Sprintf("%06d", rest), "0")
	}
	return fmt.Sprintf("%s %s/%s", amount, p.Currency, p.Per)
}

// priceHint shows what a price looks like.
const priceHint = `write something like "5 USD/month" or "11.90 EUR/year"`

// parsePrice returns a price like "5 USD/month".
func parsePrice(s string) (Price, *flaw) {
	left, period, ok := strings.Cut(s, "/")
	words := strings.Fields(left)
	if !ok || len(words) != 2 {
		return Price{}, &flaw{fmt.Sprintf("%s is not a price", quote(s)), priceHint}
	}
	micros, ok := parseMicros(words[0])
	if !ok {
		return Price{}, &flaw{fmt.Sprintf("%s is not an amount of money", quote(words[0])), "write a number such as 5 or 11.90, at most a million, with at most six decimals"}
	}
	if f := currencyFlaw(words[1]); f != nil {
		return Price{}, f
	}
	per, f := parsePeriod(strings.TrimSpace(period))
	if f != nil {
		return Price{}, f
	}
	return Price{micros, words[1], per}, nil
}

// parseMicros returns a decimal number in millionths.
func parseMicros(s string) (int64, bool) {
	whole, decimals, point := strings.Cut(s, ".")
	if point && decimals == "" || len(whole) > 7 || len(decimals) > 6 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+decimals+strings.Repeat("0", 6-len(decimals)), 10, 63)
	if err != nil || whole == "" || n > 1e12 {
		return 0, false
	}
	return int64(n), true
}

func parsePeriod(s string) (Period, *flaw) {
	names := make([]string, 0, 3)
	for _, p := range []Period{Hour, Month, Year} {
		if p.String() == s {
			return p, nil
		}
		names = append(names, p.String())
	}
	return 0, &flaw{fmt.Sprintf("%s is not a period", quote(s)), didYouMean(s, names, "write hour, month or year")}
}

// currencyFlaw returns what is wrong with a currency.
func currencyFlaw(s string) *flaw {
	known := strings.Fields(currencies)
	if slices.Contains(known, s) {
		return nil
	}
	return &flaw{fmt.Sprintf("%s is not a currency of ISO 4217", quote(s)), didYouMean(s, known, "write three capital letters, as in USD")}
}

// currencies are those of ISO 4217 that one can pay with.
const currencies = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD " +
	"CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD " +
	"HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD " +
	"MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG " +
	"QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS " +
	"UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
