package result

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"pennyfarthing/internal/sweep/evidence"
)

// The keys of a Parquet file's metadata.
const (
	keySchema  = "penny.schema"
	keyVersion = "penny.version"
	keyRun     = "penny.run"
)

// A parquetEncoder writes Apache Parquet: one row group a part, columns compressed
// with zstd. Its writer is used for one file after the other, because making one
// costs as much as some hundred rows.
type parquetEncoder struct {
	w    *parquet.GenericWriter[parquetRow]
	rows []parquetRow
}

func newParquetEncoder(meta Meta) *parquetEncoder {
	return &parquetEncoder{w: parquet.NewGenericWriter[parquetRow](io.Discard,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}),
		// Columns come together here before they are compressed: this much each, of more
		// than forty.
		parquet.PageBufferSize(32<<10),
		parquet.WriteBufferSize(16<<10),
		parquet.CreatedBy("penny", meta.Version, ""),
		parquet.KeyValueMetadata(keySchema, strconv.Itoa(evidence.SchemaVersion)),
		parquet.KeyValueMetadata(keyVersion, meta.Version),
		parquet.KeyValueMetadata(keyRun, meta.Run),
		parquet.KeyValueMetadata(keySeal, sealZeros),
	)}
}

func (e *parquetEncoder) begin(w io.Writer) error {
	e.w.Reset(w)
	return nil
}

func (e *parquetEncoder) write(rows []evidence.Row) error {
	e.rows = slices.Grow(e.rows[:0], len(rows))[:len(rows)]
	for i := range rows {
		e.rows[i].from(&rows[i])
	}
	_, err := e.w.Write(e.rows)
	return err
}

func (e *parquetEncoder) end() error { return e.w.Close() }

// A parquetReader reads a file some rows at a time.
type parquetReader struct {
	r    *parquet.GenericReader[parquetRow]
	left int64        // rows that are still to come
	rows []parquetRow // read, and not yet handed on
}

func newParquetReader(f *os.File) (*parquetReader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := unseal(f, info.Size()); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, err
	}
	if text, ok := file.Lookup(keySchema); ok {
		if version, err := strconv.Atoi(text); err != nil || version > evidence.SchemaVersion {
			return nil, fmt.Errorf("its rows are of version %s, and this penny reads up to %d: use a newer penny", text, evidence.SchemaVersion)
		}
	}
	if _, ok := file.Schema().Lookup("target"); !ok {
		return nil, errors.New("it has no column target")
	}
	return &parquetReader{r: parquet.NewGenericReader[parquetRow](file), left: file.NumRows()}, nil
}

// row reads the next row. At the end of the file it returns io.EOF.
func (p *parquetReader) row() (*evidence.Row, error) {
	if len(p.rows) == 0 {
		if p.left == 0 {
			return nil, io.EOF
		}
		rows := make([]parquetRow, min(batch, p.left))
		n, err := p.r.Read(rows)
		if n == 0 {
			return nil, fmt.Errorf("%d rows are not there: %v", p.left, err) //nolint:errorlint // an io.EOF here is not the end
		}
		p.rows = rows[:n]
		p.left -= int64(n)
	}
	row := p.rows[0].row()
	p.rows = p.rows[1:]
	return row, nil
}

// parquetRow and parquetTry are rows as the library is to see them. Times are int64
// for it, because its way with time.Time goes by nanoseconds, which end in 2262, and
// certificates until 9999 are common.
type parquetRow struct {
	Rank          int64        `parquet:"rank"`
	Target        string       `parquet:"target"`
	Verdict       string       `parquet:"verdict,dict"`
	Status        int32        `parquet:"status"`
	FirstStatus   int32        `parquet:"first_status"`
	Error         string       `parquet:"error"`
	Scheme        string       `parquet:"scheme,dict"`
	FinalURL      string       `parquet:"final_url"`
	Redirects     int32        `parquet:"redirects"`
	Address       string       `parquet:"address"`
	Attempts      int32        `parquet:"attempts"`
	DNSUS         int64        `parquet:"dns_us"`
	ConnectUS     int64        `parquet:"connect_us"`
	TLSUS         int64        `parquet:"tls_us"`
	FirstByteUS   int64        `parquet:"first_byte_us"`
	TotalUS       int64        `parquet:"total_us"`
	TLSVersion    string       `parquet:"tls_version,dict"`
	CertNotAfter  *int64       `parquet:"cert_not_after,optional,timestamp(microsecond)"`
	Server        string       `parquet:"server,dict"`
	ContentType   string       `parquet:"content_type,dict"`
	ContentLength int64        `parquet:"content_length"`
	Title         string       `parquet:"title"`
	BodySHA256    string       `parquet:"body_sha256"`
	BodyBytes     int64        `parquet:"body_bytes"`
	Suspect       bool         `parquet:"suspect"`
	ObservedAt    *int64       `parquet:"observed_at,optional,timestamp(microsecond)"`
	Vantage       string       `parquet:"vantage,dict"`
	Tries         []parquetTry `parquet:"tries,list"`
}

type parquetTry struct {
	Scheme      string `parquet:"scheme,dict"`
	Host        string `parquet:"host"`
	Family      int32  `parquet:"family"`
	Address     string `parquet:"address"`
	Resolver    string `parquet:"resolver,dict"`
	Rcode       string `parquet:"rcode,dict"`
	Status      int32  `parquet:"status"`
	Location    string `parquet:"location"`
	Verdict     string `parquet:"verdict,dict"`
	DNSUS       int64  `parquet:"dns_us"`
	ConnectUS   int64  `parquet:"connect_us"`
	TLSUS       int64  `parquet:"tls_us"`
	FirstByteUS int64  `parquet:"first_byte_us"`
	TotalUS     int64  `parquet:"total_us"`
	At          *int64 `parquet:"at,optional,timestamp(microsecond)"`
	Vantage     string `parquet:"vantage,dict"`
}

// from fills p from a row. The memory of its tries is used again.
func (p *parquetRow) from(r *evidence.Row) {
	*p = parquetRow{
		Rank:          r.Rank,
		Target:        r.Target,
		Verdict:       r.Verdict,
		Status:        r.Status,
		FirstStatus:   r.FirstStatus,
		Error:         r.Error,
		Scheme:        r.Scheme,
		FinalURL:      r.FinalURL,
		Redirects:     r.Redirects,
		Address:       r.Address,
		Attempts:      r.Attempts,
		DNSUS:         r.DNSUS,
		ConnectUS:     r.ConnectUS,
		TLSUS:         r.TLSUS,
		FirstByteUS:   r.FirstByteUS,
		TotalUS:       r.TotalUS,
		TLSVersion:    r.TLSVersion,
		Server:        r.Server,
		ContentType:   r.ContentType,
		ContentLength: r.ContentLength,
		Title:         r.Title,
		BodySHA256:    r.BodySHA256,
		BodyBytes:     r.BodyBytes,
		Suspect:       r.Suspect,
		Vantage:       r.Vantage,
		CertNotAfter:  microseconds(r.CertNotAfter),
		ObservedAt:    microseconds(r.ObservedAt),
		Tries:         p.Tries[:0],
	}
	for i := range r.Tries {
		t := &r.Tries[i]
		p.Tries = append(p.Tries, parquetTry{
			Scheme:      t.Scheme,
			Host:        t.Host,
			Family:      t.Family,
			Address:     t.Address,
			Resolver:    t.Resolver,
			Rcode:       t.Rcode,
			Status:      t.Status,
			Location:    t.Location,
			Verdict:     t.Verdict,
			DNSUS:       t.DNSUS,
			ConnectUS:   t.ConnectUS,
			TLSUS:       t.TLSUS,
			FirstByteUS: t.FirstByteUS,
			TotalUS:     t.TotalUS,
			Vantage:     t.Vantage,
			At:          microseconds(t.At),
		})
	}
}

// row is the row that p is of.
func (p *parquetRow) row() *evidence.Row {
	r := &evidence.Row{
		Rank:          p.Rank,
		Target:        p.Target,
		Verdict:       p.Verdict,
		Status:        p.Status,
		FirstStatus:   p.FirstStatus,
		Error:         p.Error,
		Scheme:        p.Scheme,
		FinalURL:      p.FinalURL,
		Redirects:     p.Redirects,
		Address:       p.Address,
		Attempts:      p.Attempts,
		DNSUS:         p.DNSUS,
		ConnectUS:     p.ConnectUS,
		TLSUS:         p.TLSUS,
		FirstByteUS:   p.FirstByteUS,
		TotalUS:       p.TotalUS,
		TLSVersion:    p.TLSVersion,
		Server:        p.Server,
		ContentType:   p.ContentType,
		ContentLength: p.ContentLength,
		Title:         p.Title,
		BodySHA256:    p.BodySHA256,
		BodyBytes:     p.BodyBytes,
		Suspect:       p.Suspect,
		Vantage:       p.Vantage,
		CertNotAfter:  instant(p.CertNotAfter),
		ObservedAt:    instant(p.ObservedAt),
		Tries:         make([]evidence.Try, len(p.Tries)),
	}
	for i := range p.Tries {
		t := &p.Tries[i]
		r.Tries[i] = evidence.Try{
			Scheme:      t.Scheme,
			Host:        t.Host,
			Family:      t.Family,
			Address:     t.Address,
			Resolver:    t.Resolver,
			Rcode:       t.Rcode,
			Status:      t.Status,
			Location:    t.Location,
			Verdict:     t.Verdict,
			DNSUS:       t.DNSUS,
			ConnectUS:   t.ConnectUS,
			TLSUS:       t.TLSUS,
			FirstByteUS: t.FirstByteUS,
			TotalUS:     t.TotalUS,
			Vantage:     t.Vantage,
			At:          instant(t.At),
		}
	}
	return r
}

// microseconds is a time since 1970, or nil for the zero time.
func microseconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMicro())
}

func instant(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return time.UnixMicro(*us).UTC()
}
