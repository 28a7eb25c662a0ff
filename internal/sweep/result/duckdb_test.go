package result_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
)

// duckdb runs SQL in DuckDB, and returns a line of JSON a row.
func duckdb(t *testing.T, sql string) []string {
	t.Helper()
	for _, program := range []string{"bash", "node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	cmd := exec.CommandContext(t.Context(), "../../../scripts/duckdb")
	cmd.Stdin = strings.NewReader(sql)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", sql, err, complaint.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestDuckDBReadsEveryFormatAsWeDo asks somebody else for every column of rows, the
// hard ones too.
func TestDuckDBReadsEveryFormatAsWeDo(t *testing.T) {
	rows := append(samples(0, 300), everything())
	rows[300].Title = "Bücher,\r\n\"viele\"\x1f \u2028 \U0001F6B2" // DuckDB's CSV has no NUL
	var want []string
	for _, row := range rows {
		want = append(want, comparable(t, result.AppendJSON(nil, row)))
	}
	for _, format := range formats {
		t.Run(format.String(), func(t *testing.T) {
			run, parts := open(t, format)
			commit(t, parts, 0, rows[:200])
			commit(t, parts, 1, rows[200:])
			files := filepath.Join(run, "parts", "*."+format.String())
			from := map[result.Format]string{
				result.Parquet: fmt.Sprintf("read_parquet('%s')", files),
				result.JSONL:   fmt.Sprintf("read_json('%s', format = 'newline_delimited')", files),
				result.CSV:     fmt.Sprintf(`read_csv('%s', delim = ',', quote = '"', escape = '"', header = true, types = {'tls_version': 'VARCHAR'})`, files),
			}[format]
			tries := "to_json(tries)"
			if format == result.CSV {
				tries = "json(tries)"
			}
			// Times as text, so that they are compared to the microsecond.
			const zulu = "%Y-%m-%dT%H:%M:%S.%fZ"
			sql := fmt.Sprintf(`SET TimeZone = 'UTC'; SELECT * REPLACE (strftime(cert_not_after::TIMESTAMP, '%s') AS cert_not_after,
				strftime(observed_at::TIMESTAMP, '%s') AS observed_at, %s AS tries) FROM %s ORDER BY rank`, zulu, zulu, tries, from)
			var got []string
			for _, line := range duckdb(t, sql) {
				got = append(got, comparable(t, []byte(line)))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// comparable brings a row's JSON into one form: DuckDB has numbers of 64 bits as
// text, empty cells of CSV as null, tries as text, and times with a space.
func comparable(t *testing.T, text []byte) string {
	t.Helper()
	var row map[string]any
	if err := json.Unmarshal(text, &row); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if tries, ok := row["tries"].(string); ok {
		var list any
		if err := json.Unmarshal([]byte(tries), &list); err != nil {
			t.Fatalf("%s: %v", tries, err)
		}
		row["tries"] = list
	}
	flat := map[string]string{}
	flatten(flat, "", row)
	out, err := json.MarshalIndent(flat, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func flatten(flat map[string]string, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			flatten(flat, name+"."+k, inner)
		}
	case []any:
		for i, inner := range v {
			flatten(flat, fmt.Sprintf("%s[%d]", name, i), inner)
		}
	case nil:
		flat[name] = ""
	case float64:
		flat[name] = fmt.Sprintf("%.0f", v)
	case string:
		if strings.HasSuffix(name, "_at") || strings.HasSuffix(name, "_after") || strings.HasSuffix(name, ".at") {
			v = strings.Replace(v, " ", "T", 1)
			v = strings.TrimSuffix(strings.TrimSuffix(v, "Z"), "+00")
			if strings.Contains(v, ".") {
				v = strings.TrimRight(strings.TrimRight(v, "0"), ".")
			}
		}
		flat[name] = v
	default:
		flat[name] = fmt.Sprint(v)
	}
}

func TestParquetFilesSayWhoWroteThem(t *testing.T) {
	run, parts := open(t, result.Parquet)
	info := commit(t, parts, 0, samples(0, 300))
	path := filepath.Join(run, "parts", info.File)
	got := duckdb(t, fmt.Sprintf("SELECT key::VARCHAR AS k, value::VARCHAR AS v FROM parquet_kv_metadata('%s') WHERE key::VARCHAR != 'penny.crc32c' ORDER BY 1", path))
	want := []string{`{"k":"penny.run","v":"a-run"}`, fmt.Sprintf(`{"k":"penny.schema","v":"%d"}`, evidence.SchemaVersion), `{"k":"penny.version","v":"1.2.3"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = duckdb(t, fmt.Sprintf("SELECT DISTINCT compression AS c FROM parquet_metadata('%s')", path))
	if diff := cmp.Diff([]string{`{"c":"ZSTD"}`}, got); diff != "" {
		t.Error(diff)
	}
}
